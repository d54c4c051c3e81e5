"""The tables of what the base and the extras bring."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "dependencies.json"

BASE = {
    "torch": "computation",
    "numpy": "arrays",
    "pillow": "decoding and resizing pictures",
    "safetensors": "weights without code",
    "threadpoolctl": "the search for duplicates and the fit of a last layer have their own "
    "threads, and NumPy's must not wait for each other",
    "matplotlib": "the pictures of reports, which `evaluate` and `report` write",
    "rich": "progress, tables",
    "platformdirs": "the cache's place",
    "typer": "the command",
    "jinja2": "HTML pages; PyTorch brings it",
    "tomli-w": "writing recipes as TOML",
    "packaging": "comparing versions, in `doctor`",
    "captum": "integrated gradients and occlusion, in `explain` and on the page",
    "fastapi": "the service: routes and its description",
    "starlette": "the service: requests, uploads, files",
    "uvicorn": "the service: connections",
    "httptools": "the service: reading requests, in C",
    "python-multipart": "the service: pictures sent by forms",
    "prometheus-client": "the service: counters",
}
EXTRAS = {
    "notebook": "a kernel for notebooks",
    "audit": "confident learning, for `data check --labels`",
    "export": "ONNX files and the check of their answers; Keras files",
    "runtime": "answers of an exported file, also without PyTorch",
    "heic": "pictures from phones; a C decoder that not everybody needs",
    "hub": "resumable downloads of pinned files, for `backbones fetch`, `push` and "
    "`hf:OWNER/NAME`; SciPy fits the last layer of a pretrained network",
    "sklearn": "the estimator `FirstlightClassifier`, and `data check --map`",
    "parquet": "the only Parquet reader that keeps to the format's details",
    "cloud": "one interface to files at addresses; PyTorch brings fsspec itself",
    "tune": "the search and its storages; a PostgreSQL storage also needs psycopg",
}


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def _weight(found: dict[str, Any], names: set[str]) -> tuple[int, float]:
    """How many packages, and their MB."""
    return len(names), sum(found["packages"][name]["bytes"] for name in names) / 1e6


def _seconds(took: float) -> str:
    return f"{took:.2f} s" if took >= 0.005 else "–"


def _megabytes(size: float) -> str:
    return f"{size:,.0f}" if size >= 10 else f"{max(size, 0.1):.1f}"


def base_table() -> str:
    """A row for each package of the base, and the sum of all but PyTorch's."""
    found = _read()
    rows = ["| package | for | packages | MB | import |", "|---|---|---|---|---|"]
    seen = set[str]()
    with_torch = set(found["base"]["torch"]["needs"])
    for name, of in found["base"].items():
        count, size = _weight(found, set(of["needs"]) - seen)
        seen |= set(of["needs"])
        rows.append(
            f"| {name} | {BASE[name]} | {count or '–'} | {_megabytes(size) if count else '–'} "
            f"| {_seconds(of['seconds'])} |"
        )
    count, size = _weight(found, seen - with_torch)
    rows.append(f"| **all but torch's** | | **{count}** | **{_megabytes(size)}** | |")
    return "\n".join([*rows, "", _how(found)])


def extras_table() -> str:
    """A row for each extra, with what it brings beside the base."""
    found = _read()
    base = {name for of in found["base"].values() for name in of["needs"]}
    rows = ["| extra | for | packages | MB | import |", "|---|---|---|---|---|"]
    for extra, of in sorted(found["extras"].items()):
        count, size = _weight(found, set(of["needs"]) - base)
        names = ", ".join(of["names"])
        rows.append(
            f"| `{extra}`: {names} | {EXTRAS[extra]} | {count} | {_megabytes(size)} "
            f"| {_seconds(of['seconds'])} |"
        )
    return "\n".join(rows)


def _how(found: dict[str, Any]) -> str:
    return (
        f"{found['system']}, Python {found['python']}, torch "
        f"{found['packages']['torch']['version']}, {found['processor']}. Repeat with "
        f"`{found['command']}`."
    )
