"""Parts of the documents' tables: means with their spread, ranges, rows."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

SCORES = ("probability", "energy", "neighbours")


def row_of(name: str, cells: list[str]) -> str:
    """Return one row of a table."""
    return f"| {' | '.join([name, *cells])} |"


def by_score(rows: list[dict[str, Any]], figure: str) -> list[str]:
    """Return a share for each score, in per cent."""
    return [accuracy(row[figure][score] for row in rows) for score in SCORES]


def load_of(rows: list[dict[str, Any]]) -> str:
    """Return the smallest and largest of the load averages just before the runs."""
    loads = [row["load_before"]["load_1_min"] for row in rows]
    low, high = f"{min(loads):.0f}", f"{max(loads):.0f}"
    return low if low == high else f"{low} to {high}"


def three_places(values: Iterable[float]) -> str:
    """Return mean and standard deviation of numbers from 0 to 1."""
    of = list(values)
    return f"{statistics.mean(of):.3f} ± {statistics.stdev(of):.3f}"


def accuracy(values: Iterable[float]) -> str:
    """Return the mean, and the standard deviation if there are several, in per cent."""
    of = [100 * value for value in values]
    spread = f" ± {statistics.stdev(of):.2f}" if len(of) > 1 else ""
    return f"{statistics.mean(of):.2f}{spread} %"


def span(rates: list[float]) -> str:
    """Return the smallest and the largest rate."""
    if not rates:
        return "not counted"
    low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
    return f"{low} GFLOP/s" if low == high else f"{low} to {high} GFLOP/s"
