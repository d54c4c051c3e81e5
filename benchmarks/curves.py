"""Plot test error against seconds from the committed result files: python benchmarks/curves.py

One figure per data set, ``docs/pictures/seconds-<set>.png``: the tutorial's epochs in Keras (from
``quick_vs_keras.json``), in a plain PyTorch loop and in firstlight (``peers.json``), mean and range
over runs; and the results of the recipes, mean and standard deviation, from these files or their
own. All must come from the same processor.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from firstlight.files import write_whole
from firstlight.report.picture import BLUE, FAINT, GREEN, INK, ORANGE, RED, SavedFigure, style

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


def curve(axes: Axes, runs: list[dict[str, Any]], label: str, colour: str) -> None:
    """Plot the error after each epoch against its share of the whole time."""
    if not runs:
        return
    errors = 100 * (1 - np.array([run["test_accuracy_by_epoch"] for run in runs], dtype=float))
    seconds = np.median([run["fit_seconds"] for run in runs])
    at = seconds * np.arange(1, errors.shape[1] + 1) / errors.shape[1]
    axes.plot(at, errors.mean(0), "-", color=colour, label=f"{label} (n = {len(runs)})")
    axes.fill_between(at, errors.min(0), errors.max(0), color=colour, alpha=0.2, linewidth=0)


def ends(runs: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Return the median seconds, and the final accuracy of each run."""
    seconds = float(np.median([run["fit_seconds"] for run in runs]))
    return seconds, [run["test_accuracy_by_epoch"][-1] for run in runs]


def point(
    axes: Axes, seconds: float, accuracies: list[float], label: str, colour: str, mark: str
) -> None:
    """Plot the result of a recipe, with its name beside it."""
    errors = 100 * (1 - np.array(accuracies))
    spread = errors.std(ddof=1) if len(errors) > 1 else 0.0
    axes.errorbar(seconds, errors.mean(), spread, fmt=mark, color=colour, capsize=3, markersize=6)
    axes.annotate(
        f"{label} (n = {len(errors)})",
        (seconds, errors.mean()),
        xytext=(7, 6) if mark == "o" else (7, -14),  # a peer's name is below, clear of ours
        textcoords="offset points",
        fontsize=8.5,
        color=colour,
    )


def draw(name: str) -> SavedFigure:
    """Return the figure of one data set."""
    beside = [json.loads((RESULTS / f"{s}.json").read_text()) for s in ("quick_vs_keras", "peers")]
    of_side: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in (run for whole in beside for run in whole["runs"] if run["data"] == name):
        of_side[run["side"].replace("firstlight-", f"{name}-")].append(run)
    processors = {whole["processor"] for whole in beside}
    with style():
        picture = SavedFigure(8.4, 4.6)
        axes = picture.add_subplot()
        curve(axes, of_side["keras"], "the tutorial in Keras", ORANGE)
        curve(axes, of_side["pytorch-loop"], "the tutorial as a plain PyTorch loop", FAINT)
        curve(axes, of_side[f"{name}-tutorial"], "the tutorial in firstlight", BLUE)
        if of_side["airbench"]:
            point(axes, *ends(of_side["airbench"]), "airbench's recipe", RED, "s")
        for path in sorted(RESULTS.glob(f"bench-{name}-*-cpu.json")):
            whole = json.loads(path.read_text())
            label = whole["recipe"]["name"]
            if of_side[label]:
                point(axes, *ends(of_side[label]), label, GREEN, "o")
                continue
            accuracies = [run["test_accuracy"] for run in whole["runs"]]
            label += ", one core" if whole["environment"]["threads"] == 1 else ""
            processors.add(whole["environment"]["processor"])
            point(axes, whole["summary"]["fit_seconds_median"], accuracies, label, GREEN, "o")
        if len(processors) > 1:
            raise SystemExit(f"{name}: files of several processors: {', '.join(processors)}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * 4)  # room for the names
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0.9 * axes.get_ylim()[0])  # room for a name below its point
        axes.grid(color=FAINT, alpha=0.25)
        axes.set_xlabel("seconds of training and evaluation")
        axes.set_ylabel("wrong answers in the test set, %")
        axes.set_title(f"{TITLES[name]}, two CPU cores", loc="left", color=INK)
        axes.legend(loc="lower left", fontsize=8.5)
    return picture


def main() -> None:
    for name in TITLES:
        write_whole(ROOT / "docs" / "pictures" / f"seconds-{name}.png", draw(name).png())


if __name__ == "__main__":
    main()
