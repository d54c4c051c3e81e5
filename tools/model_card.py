"""The card of a bundled model, made of its run folder's files and of the seeds' figures."""

import json
import statistics
from pathlib import Path
from typing import Any

from firstlight.data.catalog import CATALOG
from firstlight.runs.box import MEASURED
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder

NOT_FOR = {
    "mnist": "- Letters, several digits in one picture, house numbers or documents. It knows "
    "single digits, handwritten with a pen by employees and students in the USA around 1990.\n"
    "- European handwriting: sevens with a bar and ones with a long upstroke are rarer in "
    "its training images than in Europe.\n"
    "- Amounts, forms or exam marks, unless a person checks the result.",
    "cifar10": "- Anything but these ten classes, each seen whole in a small picture. It has no "
    "class for people, and it assigns one of its ten classes to most pictures of other things "
    'instead of answering "unknown".\n'
    "- Small details in larger pictures: they are lost, because pictures are reduced to 32 "
    "pixels first.\n"
    "- Decisions about people, traffic or safety.",
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
            f"# {box.name}: a classifier of {entry.title}, bundled with firstlight",
            "",
            f"Input: pictures of {height} × {width} pixels, {channels} "
            f"{'channel' if channels == 1 else 'channels'}. Classes: "
            f"{', '.join(saved.class_names)}. "
            f"Size: {box.read_json('summary.json')['parameters']:,} parameters, stored as float16.",
            "",
            "## Origin",
            "",
            f"- Data: {entry.title}, {described['train']['images']:,} training images, of which "
            f"{described['trained_on']:,} were trained on and the others held out. "
            f"{entry.citation.rstrip('.')}. Licence of the data: {entry.licence.rstrip('.')}.",
            f"- Training: `firstlight train {box.name} --recipe recipe.toml`, with the "
            "`recipe.toml` beside this card, which holds every setting.",
            "- Licence of the weights: that of firstlight. The conditions of the data's licence "
            "also apply.",
            "",
            "## Accuracy",
            "",
            f"**{100 * metrics['accuracy']:.2f} %** of {metrics['count']:,} test images correct "
            f"(95 % interval {low:.2f} to {high:.2f} %), measured with this file. The test set "
            f"was read once, after training. Other seeds of the same recipe: {of_seeds(seeds)}. "
            "This model is seed 0; it was not selected from several seeds.",
            "",
            *per_class(metrics),
            "",
            "## Calibration",
            "",
            f"Probabilities are calibrated on held-out images (temperature "
            f"{saved.calibration.temperature:.3f}); the expected calibration error on the test "
            f"images is {100 * metrics['expected_calibration_error']:.2f} %, the log loss "
            f"{metrics['log_loss']:.4f}. Of the test images, "
            f"{100 * metrics['answered']['coverage']:.1f} % were answered "
            f"({100 * metrics['answered']['accuracy']:.2f} % correct). The rest scored below the "
            f'{100 * saved.calibration.threshold:.1f} % threshold and were answered "unknown".',
            "",
            "## Robustness",
            "",
            *under_corruptions(box.read_json("robustness.json")),
            "",
            "## Not intended for",
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
        f"Accuracy of {found['images']:,} test images under six changes of increasing strength:",
        "",
        "| change | none | 1 | 2 | 3 | 4 | 5 |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, points in found["curves"].items():
        shares = " | ".join(f"{100 * point['accuracy']:.1f} %" for point in points)
        lines.append(f"| {kind} | {shares} |")
    return lines
