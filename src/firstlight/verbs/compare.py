"""Several runs on one page: how accurate, how sure, how fast, and what their recipes differ in."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firstlight.errors import DataError, UserError
from firstlight.files import write_whole
from firstlight.report import charts
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import Answers, read_answers, read_epochs


def compare(folders: Sequence[RunFolder], out: Path) -> Path:
    """Write one self-contained page about two or more finished runs to ``out``.

    Raises ``UserError`` for an unfinished run or where ``out`` cannot be written.
    """
    for folder in folders:
        folder.require_finished()
    runs = dict(zip(_names(folders), folders, strict=True))
    if len(runs) < 2:
        raise UserError("a comparison needs two different runs")
    try:
        page = _page(runs)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"the files of a run do not fit together: {error!r}") from error
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file, such as {out / 'comparison.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out writes a page; its name must end in .html, unlike {out}")
    try:
        write_whole(out, render(page))
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    return out


def _names(folders: Sequence[RunFolder]) -> list[str]:
    """The folders' own names, or their whole paths where two have the same."""
    short = [folder.name for folder in folders]
    if len({folder.path.resolve() for folder in folders}) == len(set(short)):
        return short
    return [str(folder) for folder in folders]


def _page(runs: dict[str, RunFolder]) -> Page:
    metrics = {
        name: folder.read_json("metrics.json")
        for name, folder in runs.items()
        if (folder.path / "metrics.json").is_file()
    }
    data = {name: folder.read_json("data.json") for name, folder in runs.items()}
    sections = [_overview(runs, data, metrics)]
    if metrics:
        sections.append(_scores(metrics))
    if len(metrics) > 1:
        sections.append(_paired(runs, data, metrics))
    curves = {name: read_epochs(folder) for name, folder in runs.items()}
    if any(e["validation_accuracy"] is not None for epochs in curves.values() for e in epochs):
        sections.append(
            Section(
                title="Training",
                text="After each epoch, on the images that each run was watched by.",
                pictures=[
                    Shown(
                        png=charts.comparison_curves(curves).png(),
                        alt=f"Validation accuracy of {len(runs)} runs by epoch and by seconds",
                    )
                ],
            )
        )
    sections.append(_differences(runs))
    return Page(
        title=f"{len(runs)} runs compared",
        lead=", ".join(runs),
        sections=sections,
        foot="This page is one file and loads nothing from elsewhere.",
    )


def _overview(runs: dict[str, RunFolder], data: dict[str, Any], metrics: dict[str, Any]) -> Section:
    rows = []
    for name, folder in runs.items():
        summary = folder.read_json("summary.json")
        machine = folder.read_json("environment.json")
        measured = metrics.get(name)
        scores = ["not evaluated", "", ""]
        if measured is not None:
            low, high = measured["accuracy_interval"]
            scores = [
                f"{100 * measured['accuracy']:.2f} %",
                f"{100 * low:.2f} to {100 * high:.2f} %",
                f"{measured['log_loss']:.4f}",
            ]
        rows.append(
            [
                name,
                data[name]["name"],
                *scores,
                f"{summary['parameters']:,}",
                f"{summary['epochs']}",
                f"{summary['train_seconds']:.1f} s",
                machine["device"],
            ]
        )
    head = ["run", "data", "accuracy", "95 % interval", "log loss", "parameters", "epochs"]
    table = Table(head=[*head, "training", "device"], rows=rows)
    text = "Times are comparable only where they were taken on the same quiet machine."
    return Section(title="Overview", text=text, table=table)


def _scores(metrics: dict[str, Any]) -> Section:
    scores = [
        charts.RunScore(name=name, accuracy=m["accuracy"], interval=tuple(m["accuracy_interval"]))
        for name, m in metrics.items()
    ]
    best = max(scores, key=lambda score: score.accuracy)
    return Section(
        title="Test accuracy",
        pictures=[
            Shown(
                png=charts.comparison_bars(scores).png(),
                alt=f"Test accuracies; the highest is {best.name} with {100 * best.accuracy:.2f} %",
            )
        ],
    )


def _paired(runs: dict[str, RunFolder], data: dict[str, Any], metrics: dict[str, Any]) -> Section:
    """Which of the images one run has right and the other wrong: the exact McNemar test."""
    from scipy.stats import binomtest

    best = max(metrics, key=lambda name: metrics[name]["accuracy"])
    title = f"Against the best, {best}"
    answers: dict[str, Answers] = {
        name: read_answers(runs[name])
        for name in metrics
        if data[name]["test"]["sha256"] == data[best]["test"]["sha256"]
    }
    rows = []
    right = {name: a.predicted_N == a.true_N for name, a in answers.items()}
    for name in answers:
        if name == best:
            continue
        only_best = int((right[best] & ~right[name]).sum())
        only_this = int((~right[best] & right[name]).sum())
        apart = only_best + only_this
        chance = float(binomtest(only_best, apart).pvalue) if apart else 1.0
        rows.append([name, f"{only_best:,}", f"{only_this:,}", f"{chance:.2g}"])
    if not rows:
        return Section(title=title, text="No other run was measured on the same test images.")
    return Section(
        title=title,
        text="On the same test images: how many only one of the two has right, and how often "
        "chance alone would part two equally good runs at least so far (exact McNemar test). It "
        "speaks of these two trained networks; whether one recipe is better than another takes "
        "several seeds of each.",
        table=Table(head=["run", "only the best right", "only this right", "p"], rows=rows),
    )


def _differences(runs: dict[str, RunFolder]) -> Section:
    recipes = {name: _flat(asdict(folder.recipe())) for name, folder in runs.items()}
    keys = next(iter(recipes.values()))
    rows = [
        [key, *(str(recipe[key]) for recipe in recipes.values())]
        for key in keys
        if key != "description" and len({str(recipe[key]) for recipe in recipes.values()}) > 1
    ]
    if not rows:
        return Section(title="Recipes", text="All runs have the same recipe.")
    return Section(
        title="What the recipes differ in", table=Table(head=["choice", *recipes], rows=rows)
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
