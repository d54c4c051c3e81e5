"""The tables in docs/scale.md about several processes."""

import json
import statistics
from typing import Any

from table_cells import RESULTS, row_of

LINKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 10e9 / 8, "100 Gbit/s": 100e9 / 8}
"""Bytes per second of Ethernet in these classes (IEEE 802.3)."""
NUMBERS = (1, 2, 4, 8)


def scaling_table() -> str:
    """Return the measured seconds and bytes of a step."""
    whole = _whole()
    counts = sorted({run["processes"] for run in whole["runs"]})
    heads = [f"{n} process{'' if n == 1 else 'es'}" for n in counts]
    lines = [
        row_of("milliseconds per step", [*heads, "sent to each other process"]),
        row_of("---", ["---"] * (len(counts) + 1)),
    ]
    for recipe, sizes in whole["bytes"].items():
        seconds = {n: _seconds(whole, recipe, n) for n in counts}
        cells = [
            f"{1000 * took:.0f}" + (f" (× {seconds[1] / took:.2f})" if n > 1 else "")
            for n, took in seconds.items()
        ]
        lines.append(row_of(f"`{recipe}`", [*cells, f"{sizes['2'] / 1e6:.1f} MB"]))
    return "\n".join(
        [
            *lines,
            "",
            f"Batches of 128 in {whole['shards']} shards, one thread each, {whole['cores']} cores "
            f"of {whole['processor']}; medians of {_rounds(whole)} interleaved runs. Repeat with "
            f"`{whole['command']}`.",
        ]
    )


def cluster_table() -> str:
    """Return estimates for links of other speeds, from the measured times."""
    whole = _whole()
    lines = [
        row_of("milliseconds per step, estimated", [f"{n} machines" for n in NUMBERS[1:]]),
        row_of("---", ["---"] * (len(NUMBERS) - 1)),
    ]
    for recipe, sizes in whole["bytes"].items():
        one, two = (_seconds(whole, recipe, n) for n in (1, 2))
        shard = (one - two) / (whole["shards"] / 2)
        common = one - whole["shards"] * shard
        for link, speed in LINKS.items():
            steps = [
                common + whole["shards"] / n * shard + (n - 1) * sizes["2"] / speed
                for n in NUMBERS[1:]
            ]
            cells = [f"{1000 * step:.0f} (× {one / step:.2f})" for step in steps]
            lines.append(row_of(f"`{recipe}`, {link}", cells))
        lines.append(
            row_of(
                f"`{recipe}`: {1000 * shard:.1f} per shard, {1000 * common:.1f} for what every "
                "process does",
                [""] * (len(NUMBERS) - 1),
            )
        )
    return "\n".join(lines)


def _whole() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "scaling.json").read_text())
    return found


def _seconds(whole: dict[str, Any], recipe: str, processes: int) -> float:
    found: float = statistics.median(
        run["step_seconds"]
        for run in whole["runs"]
        if (run["recipe"], run["processes"]) == (recipe, processes)
    )
    return found


def _rounds(whole: dict[str, Any]) -> int:
    return 1 + max(int(run["round"]) for run in whole["runs"])
