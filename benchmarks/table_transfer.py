"""The tables of docs/transfer.md."""

import json
import statistics
from typing import Any

from table_cells import RESULTS, accuracy, row_of

SETS = {
    "cifar10-10": "CIFAR-10, 10 per class",
    "cifar10-25": "CIFAR-10, 25 per class",
    "cifar10-100": "CIFAR-10, 100 per class",
    "cifar10-500": "CIFAR-10, 500 per class",
    "fashion_mnist-20": "Fashion-MNIST, 20 per class",
    "mnist-20": "MNIST, 20 per class",
    "paper-20": "digits photographed on paper, 20 per class",
}
PHOTOGRAPHS = {
    "ants-bees": "ants and bees, 319 to train and 78 to test",
    "waste": "waste in six classes, 2,024 and 503",
    "hand-signs": "hand signs for ten digits, 1,652 and 410",
}
SIDES = {
    "default": "`train`, defaults",
    "frozen": "last layer only",
    "nothing": "from scratch",
    "scikit-learn": "scikit-learn on the same features",
    "timm": "timm, same time",
    "fastai": "fastai, same time",
}
UNLIMITED = {"timm": "timm, 5 epochs", "fastai": "fastai, 1 + 5 epochs"}


def transfer_table() -> str:
    """Return small sets: firstlight's methods, scikit-learn, timm and fastai."""
    whole, found = _runs("transfer")
    lines = [
        row_of("training images", [*SIDES.values(), "n"]),
        row_of("---", ["---"] * (len(SIDES) + 1)),
    ]
    for name, title in SETS.items():
        sides = [found.get((name, side), []) for side in SIDES]
        if not sides[0]:
            continue
        lines.append(row_of(title, [*map(_cell, sides), _count(sides)]))
    return "\n".join(
        [
            *lines,
            "",
            "Accuracy on 500 test images, mean ± sd over n seeds, each with other training images; "
            "in brackets median processor seconds of training. One thread of "
            f"{whole['processor']}, on a busy machine. {_versions(found)}. Repeat with "
            f"`{whole['command']}`.",
        ]
    )


def longer_table() -> str:
    """Return what timm and fastai reach in more time."""
    whole, found = _runs("transfer")
    lines = [
        row_of("training images", [SIDES["default"], *UNLIMITED.values(), "n"]),
        row_of("---", ["---"] * (len(UNLIMITED) + 2)),
    ]
    for name, title in SETS.items():
        longer = [
            [run["unlimited"] for run in found.get((name, side), []) if "unlimited" in run]
            for side in UNLIMITED
        ]
        if not all(longer):
            continue
        seeds = {run["seed"] for run in found[name, "timm"] if "unlimited" in run}
        own = [run for run in found[name, "default"] if run["seed"] in seeds]
        lines.append(row_of(title, [*map(_cell, [own, *longer]), _count(longer)]))
    return "\n".join(
        [
            *lines,
            "",
            f"As above, however long it takes. Repeat with `{whole['command']} --sides timm fastai "
            "--epochs 5`.",
        ]
    )


def _versions(found: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Name each tool's version, and its PyTorch's."""
    tools = {
        " with ".join(f"{tool} {version}" for tool, version in run["versions"].items())
        for runs in found.values()
        for run in runs
    }
    return ", ".join(sorted(tools))


def photographs_table() -> str:
    """Folders of photographs: firstlight's default beside its parts and other tools."""
    whole, found = _runs("transfer_photographs")
    sides = {
        "default": "`train`, defaults",
        "frozen": "last layer only",
        "scratch": "from scratch",
        "scikit-learn": "scikit-learn on the same features",
        "timm": "timm, same time",
        "fastai": "fastai, same time",
    }
    lines = [
        row_of("photographs", [*sides.values(), "n"]),
        row_of("---", ["---"] * (len(sides) + 1)),
    ]
    for name, title in PHOTOGRAPHS.items():
        found[name, "scratch"] = [_from_scratch(run) for run in found[name, "default"]]
        runs = [found.get((name, side), []) for side in sides]
        lines.append(row_of(title, [*map(_cell, runs), _count(runs)]))
    return "\n".join(
        [
            *lines,
            "",
            "Accuracy on the test photographs, mean ± sd over n splits; in brackets median "
            "processor seconds of training. The network from scratch is the one that `train` "
            "compares with the backbone; it ends early if it is far behind, and its time is part "
            f"of that of `train`. One thread of {whole['processor']}, on a busy machine. Repeat "
            f"with `{whole['command']}`.",
        ]
    )


def _from_scratch(run: dict[str, Any]) -> dict[str, Any]:
    """Of the two networks that the default compared, the one without a backbone."""
    return {"test_accuracy": (run["beside"] if run["started_from"] else run)["test_accuracy"]}


def _runs(name: str) -> tuple[dict[str, Any], dict[tuple[str, str], list[dict[str, Any]]]]:
    """Return a result file, and its runs by set and side."""
    whole: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        found.setdefault((run["set"], run["side"]), []).append(run)
    return whole, found


def _count(sides: list[list[dict[str, Any]]]) -> str:
    """Return the number of seeds that the sides have."""
    least, most = (pick(len(runs) for runs in sides if runs) for pick in (min, max))
    return str(most) if least == most else f"{least} to {most}"


def _cell(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return ""
    seconds = [run["processor_seconds"] for run in runs if "processor_seconds" in run]
    took = f" ({statistics.median(seconds):.0f} s)" if seconds else ""
    return f"{accuracy(run['test_accuracy'] for run in runs)}{took}"
