"""The table of versions that the tests ran on."""

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "versions.json"


def versions_table() -> str:
    """Return a row for each Python, PyTorch and choice of the other packages' versions."""
    rows = [
        "| system | Python | PyTorch | the other packages | tests passed | failed | skipped |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in json.loads(RESULTS.read_text(encoding="utf-8")):
        of, tests = one["versions"], one["tests"]
        rows.append(
            f"| {one['system']}, {one['machine']} | {of['python']} | {of['torch']} "
            f"| {one['which']} | {tests['passed']:,} | {tests['failed'] + tests['error']} "
            f"| {tests['skipped']} |"
        )
    return "\n".join(rows)
