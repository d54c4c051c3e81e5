"""The card of a model in the box, made of its run folder's files and of the seeds' figures."""

import json
import statistics
from pathlib import Path
from typing import Any

from firstlight.data.catalog import CATALOG
from firstlight.runs.box import MEASURED
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder

NOT_FOR = {
    "mnist": "Letters, several digits in one picture, house numbers or documents: it knows single "
    "digits, written by hand with a pen, by employees and pupils in the USA around 1990. Sevens "
    "with a bar and ones with a long upstroke are rarer there than in Europe. Reading amounts, "
    "forms or marks of exams without a person who checks.",
    "cifar10": "Anything but these ten kinds of things, seen whole in a small picture: it has no "
    "class for people, and gives pictures of other things one of its ten names more often than "
    '"unknown". Decisions about persons, traffic or safety. Larger pictures are made 32 pixels '
    "small first, and lose what is small in them.",
}


def card(box: RunFolder, seeds: Path) -> str:
    """Markdown. ``seeds`` is the result file of several seeds of the same recipe."""
    described, metrics = box.read_json("data.json"), box.read_json(MEASURED)
    entry, saved = CATALOG[described["name"]], load_model(box)
    height, width, channels = saved.architecture.image_shape
    low, high = (100 * share for share in metrics["accuracy_interval"])
    assert saved.calibration is not None
    return "\n".join(
        [
            f"# {box.name}: a classifier of {entry.title} in the box of firstlight",
            "",
            f"It takes pictures of {height} × {width} pixels, {channels} "
            f"{'channel' if channels == 1 else 'channels'}, and knows the classes "
            f"{', '.join(saved.class_names)}. {box.read_json('summary.json')['parameters']:,} "
            "trained numbers, stored as float16.",
            "",
            "## Where it comes from",
            "",
            f"- Data: {entry.title}, {described['train']['images']:,} training images, of which "
            f"{described['trained_on']:,} were trained on and the others held out. "
            f"{entry.citation.rstrip('.')}. Licence of the data: {entry.licence.rstrip('.')}.",
            f"- Training: `firstlight train {box.name} --recipe recipe.toml`, with the "
            "`recipe.toml` beside this card, in which every choice stands.",
            "- Licence of these weights: that of firstlight; what the data's licence asks for "
            "holds beside it.",
            "",
            "## How good it is",
            "",
            f"**{100 * metrics['accuracy']:.2f} %** of {metrics['count']:,} test images right "
            f"(95 % interval {low:.2f} to {high:.2f} %): this very file, test set read once after "
            f"training. The same recipe with other seeds: {of_seeds(seeds)}. This one is seed 0, "
            "and was not chosen among them.",
            "",
            *per_class(metrics),
            "",
            "## How far to believe it",
            "",
            f"Probabilities are calibrated on held-out images (temperature "
            f"{saved.calibration.temperature:.3f}); the expected calibration error on the test "
            f"images is {100 * metrics['expected_calibration_error']:.2f} %, the log loss "
            f"{metrics['log_loss']:.4f}. Below a probability of "
            f'{100 * saved.calibration.threshold:.1f} % the answer is "unknown": '
            f"{100 * metrics['answered']['coverage']:.1f} % of the test images are answered, and "
            f"{100 * metrics['answered']['accuracy']:.2f} % of these rightly.",
            "",
            "## How it holds",
            "",
            *under_corruptions(box.read_json("robustness.json")),
            "",
            "## What it is not for",
            "",
            NOT_FOR[box.name],
            "",
        ]
    )


def of_seeds(path: Path) -> str:
    """Mean and spread over seeds, in words."""
    whole: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    of = [100 * run["test_accuracy"] for run in whole["runs"]]
    return f"{statistics.mean(of):.2f} ± {statistics.stdev(of):.2f} % (n = {len(of)})"


def per_class(metrics: dict[str, Any]) -> list[str]:
    """A table."""
    lines = ["| class | precision | recall | images |", "|---|---|---|---|"]
    for row in metrics["per_class"]:
        lines.append(
            f"| {row['name']} | {100 * row['precision']:.1f} % | {100 * row['recall']:.1f} % "
            f"| {row['support']:,} |"
        )
    return lines


def under_corruptions(found: dict[str, Any]) -> list[str]:
    """A table of accuracies by kind and strength."""
    lines = [
        f"Accuracy of {found['images']:,} test images, changed with growing strength:",
        "",
        "| change | none | 1 | 2 | 3 | 4 | 5 |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, points in found["curves"].items():
        shares = " | ".join(f"{100 * point['accuracy']:.1f} %" for point in points)
        lines.append(f"| {kind} | {shares} |")
    return lines
