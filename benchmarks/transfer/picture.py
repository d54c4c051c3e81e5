"""Plot the learning curves of docs/transfer.md: python benchmarks/transfer/picture.py

Accuracy against training images per class of CIFAR-10, mean and standard deviation over seeds, from
``results/transfer.json``.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from firstlight.files import write_whole
from firstlight.report.picture import FAINT, INK, SERIES, SavedFigure, style

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from table_transfer import SIDES  # noqa: E402

RESULT = HERE.parent / "results" / "transfer.json"
PICTURE = HERE.parents[1] / "docs" / "pictures" / "transfer-cifar10.png"


def draw(runs: list[dict[str, Any]]) -> SavedFigure:
    """Plot one line per side."""
    counts: set[int] = set()
    with style():
        picture = SavedFigure(8.4, 4.6)
        axes = picture.add_subplot()
        for colour, (side, label) in zip(SERIES, SIDES.items(), strict=False):
            of_count: dict[int, list[float]] = {}
            for run in runs:
                kind, _, count = run["set"].partition("-")
                if (kind, run["side"]) == ("cifar10", side):
                    of_count.setdefault(int(count), []).append(100 * run["test_accuracy"])
            at = sorted(of_count)
            counts |= set(at)
            means = [statistics.mean(of_count[count]) for count in at]
            spreads = [
                statistics.stdev(of_count[count]) if len(of_count[count]) > 1 else 0.0
                for count in at
            ]
            name = label.replace("`", "")
            axes.errorbar(at, means, spreads, fmt="o-", color=colour, capsize=3, label=name)
        axes.set_xscale("log")
        axes.set_xticks(sorted(counts))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(0, 100)
        axes.grid(color=FAINT, alpha=0.25)
        axes.set_xlabel("training images of each class")
        axes.set_ylabel("test accuracy, %")
        axes.set_title("CIFAR-10, from few images", loc="left", color=INK)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8.5)
    return picture


if __name__ == "__main__":
    write_whole(PICTURE, draw(json.loads(RESULT.read_text())["runs"]).png())
