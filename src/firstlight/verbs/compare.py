"""Compare several runs on one page: accuracy, calibration, speed, and differences of their
recipes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstlight.differences import differences
from firstlight.errors import DataError, UserError
from firstlight.evaluate.paired import Paired, paired
from firstlight.files import write_asked
from firstlight.report import charts
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import in_both, read_any_answers, read_epochs
from firstlight.untrusted import shell_word


def compare(folders: Sequence[RunFolder], out: Path) -> Path:
    """Write one self-contained page about two or more finished runs to ``out``.

    Raises ``UserError`` for an unfinished run, or if ``out`` is not writable.
    """
    runs = named(folders)
    try:
        page = _page(runs)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"the files of a run do not match each other: {error!r}") from error
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file, such as {out / 'comparison.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out writes a page: wanted a name that ends in .html, got {out}")
    write_asked(out, render(page))
    return out


def named(folders: Sequence[RunFolder]) -> dict[str, RunFolder]:
    """Return the folders by name, or by full path if two have the same name.

    Raises ``UserError`` for an unfinished run, and unless there are two different ones.
    """
    for folder in folders:
        folder.require_finished()
    short = [folder.name for folder in folders]
    alike = len({folder.path.resolve() for folder in folders}) == len(set(short))
    runs = dict(zip(short if alike else map(str, folders), folders, strict=True))
    if len(runs) < 2:
        raise UserError("a comparison needs two different runs")
    return runs


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
        sections.append(_paired(runs))
    curves = {
        name: epochs
        for name, folder in runs.items()
        if (folder.path / "epochs.csv").is_file() and (epochs := read_epochs(folder))
    }
    lost = [
        name
        for name, folder in runs.items()
        if name not in curves and folder.read_json("summary.json")["steps"] > 0  # not imported
    ]
    if any(e["validation_accuracy"] is not None for epochs in curves.values() for e in epochs):
        sections.append(
            Section(
                title="Training",
                text="Measured after each epoch, on the validation images of each run.",
                pictures=[
                    Shown(
                        png=charts.comparison_curves(curves).png(),
                        alt=f"Validation accuracy of {len(runs)} runs by epoch and by seconds",
                    )
                ],
            )
        )
    if lost:
        text = f"Not shown, as epochs.csv is missing or empty: {', '.join(lost)}."
        sections.append(Section(title="Training progress", text=text))
    sections.append(_differences(runs))
    return Page(
        title=f"{len(runs)} runs compared",
        lead=", ".join(runs),
        sections=sections,
        foot="This page is a single file and loads nothing else.",
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
    text = "Times are comparable only if they were measured on the same idle machine."
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


def against_best(folders: dict[str, RunFolder]) -> tuple[str, dict[str, Paired]]:
    """Return the evaluated run with the highest accuracy, and its comparison with each other run
    that was measured on some of the same test images; the best is first in each pair. Raises
    ``UserError`` if none was evaluated."""
    accuracy, described, answers = {}, {}, {}
    for name, folder in folders.items():
        if not (folder.path / "metrics.json").is_file():
            continue
        with folder.trusted():
            accuracy[name] = float(folder.read_json("metrics.json")["accuracy"])
            described[name] = folder.read_json("data.json")
            answers[name] = read_any_answers(folder)
    if not accuracy:
        raise UserError(
            "none of these runs has been evaluated yet; start with: firstlight evaluate "
            f"{shell_word(next(iter(folders.values())))}"
        )
    best = max(accuracy, key=lambda name: accuracy[name])
    right = {name: of.right for name, of in answers.items()}
    pairs = {}
    for name in right:
        told = described[best], described[name]
        first_M, second_M = in_both(answers[best], answers[name], told)
        if name != best and len(first_M):
            pairs[name] = paired(right[best][first_M], right[name][second_M])
    return best, pairs


def _paired(runs: dict[str, RunFolder]) -> Section:
    best, others = against_best(runs)
    title = f"Against the best, {best}"
    rows = [
        [name, f"{pair.images:,}", f"{pair.only_first:,}", f"{pair.only_second:,}", f"{pair.p:.2g}"]
        for name, pair in others.items()
    ]
    if not rows:
        return Section(title=title, text="No other run was evaluated on the same test images.")
    return Section(
        title=title,
        text=(
            "On the test images that both runs share: how many only one of the two gets right, "
            "and the probability that two equally good runs differ at least this much (exact "
            "McNemar test). This compares two trained networks. To compare two recipes, train "
            "several seeds of each."
        ),
        table=Table(
            head=["run", "shared test images", "only the best right", "only this right", "p"],
            rows=rows,
        ),
    )


def _differences(runs: dict[str, RunFolder]) -> Section:
    found = differences([folder.recipe() for folder in runs.values()])
    if not found:
        return Section(title="Recipes", text="All runs use the same recipe.")
    rows = [[one.choice, *one.short] for one in found]
    return Section(
        title="Differences between the recipes", table=Table(head=["choice", *runs], rows=rows)
    )
