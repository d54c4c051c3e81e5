"""The model card of a run, as Markdown: its purpose, its making, and its accuracy.

It uses only the run's folder. Nothing is measured, and no network is loaded. Model cards: Mitchell
et al. 2019, "Model cards for model reporting".
"""

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from firstlight.backbones import BACKBONES
from firstlight.data.catalog import CATALOG
from firstlight.data.entry import Entry
from firstlight.errors import UserError
from firstlight.evaluate.label_metrics import LabelMetrics
from firstlight.evaluate.learnt import nothing_learnt
from firstlight.evaluate.metrics import MANY_CLASSES, Metrics
from firstlight.evaluate.prediction import UNCALIBRATED
from firstlight.evaluate.task import AnyMetrics, Task, metrics_from_json, task_in
from firstlight.hub.word import hub_word, is_hub
from firstlight.layers.own_code import COPY
from firstlight.plain import write_json
from firstlight.recipe import Recipe
from firstlight.runs.box import MEASURED, SEEDS
from firstlight.runs.folder import RunFolder
from firstlight.untrusted import json_safe, markdown_text, one_line, shell_word
from firstlight.verbs.card_metadata import Figure, Measured, Metadata, is_license
from firstlight.verbs.facts import where
from firstlight.verbs.label_card import (
    label_calibration,
    label_figures,
    label_results,
    weak_labels,
)

FEW_IMAGES = 30
"""With fewer test images of a class, its precision and recall are unreliable."""
GENERAL = (
    "Decisions about people, health or safety, unless it was tested for them and a person checks "
    "the answers.",
)
"""Uses that no small classifier suits, unless the data set's entry says more."""


def card(folder: RunFolder, *, place: str | None = None, license: str | None = None) -> str:  # noqa: A002
    """Return Markdown that begins with metadata in the format of the Hugging Face hub.

    ``place`` opens the run in the examples, by default its folder's name. ``license`` is the hub's
    identifier for the licence of the weights, such as ``mit``. Test-set figures are included if the
    run was evaluated. Raises ``UserError`` for an unfinished run or an invalid licence identifier,
    and ``DataError`` for a damaged folder.
    """
    if license is not None and not is_license(license):
        raise UserError(
            f"license: wanted the hub's word for a licence, such as mit, apache-2.0 or cc-by-4.0, "
            f"got {license!r}"
        )
    folder.require_finished()
    with folder.trusted():
        facts = _Facts(folder=folder, place=place or folder.name, license=license)
        sections = [
            *_head(facts),
            *_use(facts),
            *_origin(facts),
            *_accuracy(facts),
            *_calibration(facts),
            *_robustness(facts),
            *_limits(facts),
            *_not_for(facts),
        ]
        return f"{_metadata(facts).text()}\n" + "\n".join(sections)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Facts:
    """The content of a run's folder, read on demand."""

    folder: RunFolder
    place: str
    license: str | None

    @cached_property
    def described(self) -> dict[str, Any]:
        values: dict[str, Any] = self.folder.read_json("data.json")
        return values

    @cached_property
    def summary(self) -> dict[str, Any]:
        values: dict[str, Any] = self.folder.read_json("summary.json")
        return values

    @cached_property
    def recipe(self) -> Recipe:
        return self.folder.recipe()

    @property
    def task(self) -> Task:
        """One class for each picture, or several labels."""
        return task_in(self.described)

    @cached_property
    def metrics(self) -> AnyMetrics | None:
        """Test-set metrics; for a model in the box, those from when it was made."""
        for name in (MEASURED, "metrics.json"):
            if (self.folder.path / name).is_file():
                return metrics_from_json(self.folder.read_json(name))
        return None

    @property
    def entry(self) -> Entry | None:
        """The catalogue's entry of a named data set."""
        return CATALOG.get(self.described["name"])

    @property
    def boxed(self) -> bool:
        """Whether it comes with firstlight."""
        return (self.folder.path / MEASURED).is_file()

    @property
    def data_name(self) -> str:
        """Name of the data, without its location on this machine."""
        name = str(self.described["name"])
        return name if is_hub(name) else Path(name).name

    @property
    def class_names(self) -> list[str]:
        return [str(name) for name in self.described["class_names"]]


def _head(facts: _Facts) -> list[str]:
    height, width, channels = facts.described["image_shape"]
    names, entry = facts.class_names, facts.entry
    kinds = "labels" if facts.task.several else "classes"
    of_what = "with" if facts.task.several else "in"
    what = f"pictures {of_what} {len(names):,} {kinds}" if entry is None else entry.title
    whose = "bundled with firstlight" if facts.boxed else "trained with firstlight"
    listed = ", ".join(map(markdown_text, names[:MANY_CLASSES]))
    if len(names) > MANY_CLASSES:
        listed += f" and {len(names) - MANY_CLASSES:,} more"
    megabytes = (facts.folder.path / "model.safetensors").stat().st_size / 1e6
    lines = [
        f"# {markdown_text(facts.folder.name)}: a classifier of {what}, {whose}",
        "",
        f"Input: pictures of {height} × {width} pixels, {channels} "
        f"{'channel' if channels == 1 else 'channels'}. {kinds.capitalize()}: {listed}. "
        f"Size: {facts.summary['parameters']:,} parameters, {max(megabytes, 0.1):.1f} MB.",
        "",
    ]
    metrics = facts.metrics
    told = facts.summary.get("nothing_learnt") or ""
    if metrics is not None and (why := nothing_learnt(metrics)):
        told = f"the network has learned nothing: {why}"
    if told:
        lines += [f"**{markdown_text(told[0].upper() + told[1:])}**", ""]
    return lines


def _use(facts: _Facts) -> list[str]:
    code, named, function = facts.recipe.network.code, "", ""
    if code is not None:
        word = f"{COPY}:{code.function}"
        named, function = f" --network {shell_word(one_line(word))}", f", network={_python(word)}"
    lines = [
        "## How to use",
        "",
        "```console",
        f"$ firstlight predict {shell_word(one_line(facts.place))} picture.png{named}",
        "```",
        "",
        "```python",
        "import firstlight as fl",
        "",
        f"run = fl.open_run({_python(facts.place)}{function})",
        'print(run.predict("picture.png")[0].answer)',
        "```",
        "",
    ]
    if code is not None:
        lines += [
            f"The network is built by the code in `{COPY}`, beside the weights. It runs only where "
            "you name it.",
            "",
        ]
    return lines


def _python(text: str) -> str:
    """Quote a text as Python does."""
    return json_safe(write_json(text))


def _origin(facts: _Facts) -> list[str]:
    described, entry = facts.described, facts.entry
    images, trained_on = described["train"]["images"], described["trained_on"]
    name = markdown_text(facts.data_name) if entry is None else entry.title
    data = f"- Data: {name}, {images:,} training images"
    data += f", of which {trained_on:,} were trained on and the others held out." * (
        trained_on != images
    )
    data = data.rstrip(".") + "."
    if entry is not None:
        data += f" {entry.citation.rstrip('.')}. Licence of the data: {entry.licence.rstrip('.')}."
    return ["## Origin", "", data, *_training(facts), _licence(facts), ""]


def _training(facts: _Facts) -> list[str]:
    summary, environment = facts.summary, facts.folder.read_json("environment.json")
    if (source := summary.get("imported_from")) is not None:
        file = markdown_text(str(source["file"]))
        return [
            f"- Training: imported with its weights from {file}. How it was trained is not known."
        ]
    train, start = facts.recipe.train, facts.recipe.train.start_from
    where_from = facts.described["name"] if facts.entry is not None else "DATA"
    lines = [
        f"- Training: `firstlight train {where_from} --recipe recipe.toml`, with the "
        "`recipe.toml` beside this card, which holds every setting. "
        f"{_passes(summary)}, {summary['train_seconds']:,.0f} s on "
        f"{markdown_text(where(environment))}; firstlight {environment['firstlight']}, PyTorch "
        f"{environment['torch']}."
    ]
    if start in BACKBONES:
        backbone = BACKBONES[start]
        lines.append(
            f"- Start: the pretrained weights of {backbone.title}, {backbone.weights_licence}. "
            f"{backbone.note}"
        )
    elif start or train.start_weights:
        lines.append("- Start: the weights of another run.")
    return lines


def _passes(summary: dict[str, Any]) -> str:
    told = f"{summary['passes']:.3g}"
    return f"{told} pass{'' if told == '1' else 'es'}"


def _licence(facts: _Facts) -> str:
    data = "" if facts.entry is None else " The conditions of the data's licence also apply."
    if facts.boxed:
        return f"- Licence of the weights: that of firstlight.{data}"
    return f"- Licence of the weights: {facts.license or 'not stated'}.{data}"


def _accuracy(facts: _Facts) -> list[str]:
    return ["## Accuracy", "", *(_measured(facts) if facts.metrics else _unmeasured(facts)), ""]


def _unmeasured(facts: _Facts) -> list[str]:
    watched, kept = facts.described["validated_on"], facts.summary.get("kept_epoch") or {}
    text = (
        "Not measured on the test images yet. To measure it: `firstlight evaluate "
        f"{shell_word(one_line(facts.place))}`"
    )
    if watched is not None and (share := kept.get("validation_accuracy")) is not None:
        right = "had all their labels right, and no other" if facts.task.several else "were correct"
        text += (
            f"\n\nAfter training, {100 * share:.2f} % of {watched['images']:,} "
            f"{'test' if watched['name'].endswith('/test') else 'held-out'} images {right}."
        )
    return [text]


def _measured(facts: _Facts) -> list[str]:
    metrics = facts.metrics
    assert metrics is not None, "it was measured"
    if isinstance(metrics, LabelMetrics):
        return label_results(metrics)
    low, high = (100 * share for share in metrics.accuracy_interval)
    text = (
        f"**{100 * metrics.accuracy:.2f} %** of {metrics.count:,} test images correct "
        f"(95 % interval {low:.2f} to {high:.2f} %)"
    )
    if facts.boxed:
        text += (
            ", measured with this file. The test set was read once, after training."
            f"{_of_seeds(facts.folder)}"
        )
    elif facts.recipe.train.validation == "test":
        text += ". The test set was also watched while training; nothing was selected by it."
    else:
        text += "."
    rows = metrics.per_class
    lines = [text, ""]
    if len(rows) > MANY_CLASSES:
        rows = tuple(sorted(rows, key=lambda row: row.recall)[:20])
        lines += [f"The {len(rows)} of {len(metrics.per_class):,} classes with the lowest recall:"]
        lines += [""]
    lines += ["| class | precision | recall | images |", "|---|---|---|---|"]
    lines += [
        f"| {markdown_text(row.name)} | {100 * row.precision:.1f} % | {100 * row.recall:.1f} % "
        f"| {row.support:,} |"
        for row in rows
    ]
    return lines


def _of_seeds(folder: RunFolder) -> str:
    """Describe mean and spread over seeds of the recipe."""
    if not (folder.path / SEEDS).is_file():
        return ""
    of = [100 * share for share in folder.read_json(SEEDS)["test_accuracies"]]
    return (
        f" Several seeds of the same recipe: {statistics.mean(of):.2f} ± "
        f"{statistics.stdev(of):.2f} % (n = {len(of)}). This model is seed "
        f"{folder.recipe().train.seed}; it was not selected from them."
    )


def _calibration(facts: _Facts) -> list[str]:
    metrics = facts.metrics
    if metrics is None:
        return []
    if isinstance(metrics, LabelMetrics):
        return ["## Calibration", "", label_calibration(metrics), ""]
    figures = (
        f"the expected calibration error on the test images is "
        f"{100 * metrics.expected_calibration_error:.2f} %, the log loss {metrics.log_loss:.4f}."
    )
    if metrics.answered is None:
        text = f"Probabilities are {UNCALIBRATED}. {figures[0].upper()}{figures[1:]}"
    else:
        answered = metrics.answered
        share = "" if answered.accuracy is None else f" ({100 * answered.accuracy:.2f} % correct)"
        text = (
            f"Probabilities are calibrated on held-out images; {figures} Of the test images, "
            f"{100 * answered.coverage:.1f} % were answered{share}. The rest scored below the "
            f'{100 * answered.threshold:.1f} % threshold and were answered "unknown".'
        )
    return ["## Calibration", "", text, ""]


def _robustness(facts: _Facts) -> list[str]:
    if not (facts.folder.path / "robustness.json").is_file():
        return []
    found = facts.folder.read_json("robustness.json")
    lines = [
        "## Robustness",
        "",
        f"{facts.task.accuracy.capitalize()} of {found['images']:,} test images under six changes "
        "of increasing strength:",
        "",
        "| change | none | 1 | 2 | 3 | 4 | 5 |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, points in found["curves"].items():
        shares = " | ".join(f"{100 * point['accuracy']:.1f} %" for point in points)
        lines.append(f"| {kind} | {shares} |")
    return [*lines, ""]


def _limits(facts: _Facts) -> list[str]:
    metrics = facts.metrics
    height, width, _ = facts.described["image_shape"]
    unknown = isinstance(metrics, Metrics) and metrics.answered is not None
    answers = (
        "- It gives a picture any of its labels, or none, each judged by itself. What has no label "
        "is not noticed."
        if facts.task.several
        else "- It gives one class for each picture. A picture of anything else gets one of these "
        "classes too"
        + (', unless its probability is below the threshold for "unknown".' if unknown else ".")
    )
    lines = [
        answers,
        f"- A picture is brought to {height} × {width} pixels first. Smaller details are lost.",
    ]
    if metrics is not None:
        lines.append(
            "- The test images come from the same data set as the training images. Pictures from "
            "elsewhere may be answered less well."
        )
        lines += (
            weak_labels(metrics, FEW_IMAGES)
            if isinstance(metrics, LabelMetrics)
            else _weak_points(metrics)
        )
    return ["## Limits", "", *lines, ""]


def _weak_points(metrics: Metrics) -> list[str]:
    lines, there = [], [row for row in metrics.per_class if row.support]
    if metrics.most_confused:
        worst = min(there, key=lambda row: row.recall)
        pair = metrics.most_confused[0]
        lines.append(
            f"- The class that it finds least often is {markdown_text(worst.name)}, with a recall "
            f"of {100 * worst.recall:.1f} %. Its most frequent mistake: {markdown_text(pair.true)} "
            f"answered as {markdown_text(pair.predicted)}, {pair.count:,} times."
        )
    few = [row for row in metrics.per_class if row.support < FEW_IMAGES]
    if few:
        lines.append(
            f"- {len(few):,} of {len(metrics.per_class):,} classes have fewer than {FEW_IMAGES} "
            "test images. Their figures are uncertain."
        )
    return lines


def _not_for(facts: _Facts) -> list[str]:
    entry = facts.entry
    named = () if entry is None else entry.not_for
    other = "Pictures of anything but its classes."
    if facts.task.several:
        other = "Anything that its labels do not name."
    uses = named or (other, *GENERAL)
    return ["## Not intended for", "", *(f"- {one}" for one in uses), ""]


def _figures(metrics: AnyMetrics) -> tuple[Figure, ...]:
    if isinstance(metrics, LabelMetrics):
        return label_figures(metrics)
    return (
        Figure("accuracy", "Test accuracy", metrics.accuracy),
        Figure("log_loss", "Test log loss", metrics.log_loss),
    )


def _metadata(facts: _Facts) -> Metadata:
    entry, metrics, name = facts.entry, facts.metrics, str(facts.described["name"])
    word = hub_word(name) if is_hub(name) else None
    start = facts.recipe.train.start_from
    hub_name = (entry.hub if entry else "") or (word.repository if word else "")
    measured = None
    if metrics is not None:
        measured = Measured(
            data=entry.title if entry else facts.data_name,
            data_id=hub_name or (entry.name if entry else "custom"),
            configuration=word.configuration if word else "",
            revision=word.revision if word else "",
            figures=_figures(metrics),
        )
    return Metadata(
        name=facts.folder.name,
        license="apache-2.0" if facts.boxed else facts.license,
        data_set=hub_name,
        base_model=BACKBONES[start].hub.repository if start in BACKBONES else "",
        measured=measured,
    )
