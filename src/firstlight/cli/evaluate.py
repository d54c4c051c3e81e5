"""``firstlight evaluate``"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstlight.cli.options import (
    AllowOutside,
    Column,
    DataDir,
    Device,
    Json,
    ModelPath,
    NetworkCode,
    OtherData,
    PixelRange,
    code_named,
    percent,
    print_json,
    print_table,
)
from firstlight.untrusted import one_line, shell_word

if TYPE_CHECKING:
    from firstlight.errors import UserError
    from firstlight.evaluate.label_metrics import LabelMetrics
    from firstlight.evaluate.metrics import Metrics
    from firstlight.evaluate.robustness import Robustness
    from firstlight.evaluate.task import AnyMetrics
    from firstlight.model import Model
    from firstlight.runs.folder import RunFolder
    from firstlight.verbs.other_data import Other

LISTED = 20
"""Most classes shown on the screen."""


def evaluate(
    run: ModelPath,
    data: OtherData = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="METRIC>=BOUND",
            help="Exit with code 4 unless met, such as accuracy>=0.98.",
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Also with shift, rotation, blur, noise, less contrast and JPEG."
        ),
    ] = False,
    network: NetworkCode = None,
    allow_outside: AllowOutside = False,
    pixel_range: PixelRange = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Measure RUN on its test set and write a report.

    Shows accuracy with its confidence interval, figures for each class, calibration and mistakes.
    DATA is where the run's data is now, or other labelled data with the same class names; those
    figures are kept apart.
    """
    from firstlight.data.levels import stated
    from firstlight.errors import ThresholdError, UserError
    from firstlight.evaluate.require import requirement
    from firstlight.model import refuse_code
    from firstlight.runs.folder import open_run_folder
    from firstlight.runtime import is_onnx
    from firstlight.verbs.other_data import Other

    other = None
    if data is not None:
        limits = stated(pixel_range, "--range")
        other = Other(data=data, data_dir=data_dir, allow_outside=allow_outside, range=limits)
    elif allow_outside or pixel_range is not None:
        raise UserError("--allow-outside and --range say how to read DATA; name it behind RUN")
    requirements = [requirement(text) for text in require or []]
    code = code_named(network)
    if is_onnx(run):
        refuse_code(run, code)
        metrics, unwritten = _file(run, other, robustness, device, data_dir, json), None
    else:
        folder = open_run_folder(run, code)
        metrics, unwritten = _run(folder, other, robustness, device, data_dir, json)
    if unwritten is not None:
        raise unwritten
    for one in requirements:
        if not one.met_by(metrics):
            raise ThresholdError(f"{one.metric} is {one.value_in(metrics):.4f}; required: {one}")


def _run(
    folder: "RunFolder",
    given: "Other | None",
    robustness: bool,
    device: str,
    data_dir: Path | None,
    json: bool,
) -> "tuple[AnyMetrics, UserError | None]":
    """Measure a run, write its report and print. Also return the error if there is no report."""
    from firstlight.errors import UnreachableError, UserError
    from firstlight.model import run_model
    from firstlight.progress import CountingBar
    from firstlight.track.copying import trackers_of
    from firstlight.verbs.evaluate import evaluate as evaluate_run
    from firstlight.verbs.evaluate import shipped_metrics
    from firstlight.verbs.other_data import is_other
    from firstlight.verbs.report import report
    from firstlight.verbs.robustness import robustness as measure
    from firstlight.verbs.run_data import data_of_run

    folder.require_finished()
    under = page = unwritten = None
    if given is not None and is_other(folder, given):
        if robustness:
            raise UserError(f"--robustness is measured on {folder}'s own test images; leave it out")
        return _other(run_model(folder, device), given, folder, json), None
    try:
        data = data_of_run(folder, data_dir, None if given is None else Path(given.name))
    except UnreachableError as error:
        shipped = shipped_metrics(folder)
        if shipped is None or robustness:
            raise
        metrics = shipped
        typer.echo(f"These figures are from when the model was made, because {error}\n", err=True)
    else:
        metrics = evaluate_run(folder, device=device, data=data)
        if robustness:
            with CountingBar("answering", "corrupted pictures", quiet=json) as bar:
                under = measure(folder, device=device, data=data, progress=bar)
        try:
            page = str(report(folder, data=data))
        except UserError as error:  # still print the measurements
            unwritten = error
    if json:
        more = {} if under is None else {"robustness": under.to_json()}
        print_json({"run": str(folder), "report": page, **_told(metrics), **more})
    else:
        _print(metrics)
        if under is not None:
            _print_robustness(under)
        typer.echo(f"\nreport {page}" if page else "")
        if names := trackers_of(folder):
            typer.echo(f"to copy it to {', '.join(names)}: firstlight track {shell_word(folder)}")
    return metrics, unwritten


def _other(model: "Model", other: "Other", folder: "RunFolder | None", json: bool) -> "AnyMetrics":
    """Measure on other data and print; with a run's folder, save the figures separately."""
    from firstlight.verbs.other_data import evaluate_other

    metrics, matched, place = evaluate_other(model, other, folder)
    kept = None if place is None else str(place)
    if json:
        print_json({"data": asdict(matched), "kept": kept, **_told(metrics)})
        return metrics
    typer.echo("\n".join(one_line(line) for line in matched.told) + "\n")
    _print(metrics, "images")
    typer.echo(f"\nkept {kept}" if kept else "")
    return metrics


def _file(
    path: Path,
    given: "Other | None",
    robustness: bool,
    device: str,
    data_dir: Path | None,
    json: bool,
) -> "AnyMetrics":
    """Measure an exported file and print; write nothing."""
    from firstlight.errors import DataError, UserError
    from firstlight.model import open_model
    from firstlight.verbs.evaluate import evaluate_file

    if robustness:
        raise UserError(f"{path}: --robustness needs the run folder, not its export")
    try:
        place = None if given is None else Path(given.name)
        metrics = evaluate_file(path, device=device, data_dir=data_dir, data=place)
    except DataError:
        if given is None:
            raise
        return _other(open_model(path, device), given, None, json)
    if json:
        print_json({"file": str(path), **_told(metrics)})
    else:
        _print(metrics)
    return metrics


def _told(metrics: "AnyMetrics") -> dict[str, object]:
    from firstlight.evaluate.learnt import nothing_learnt
    from firstlight.evaluate.metrics import Metrics

    return {
        **metrics.to_json(),
        **({"calibrated": metrics.answered is not None} if isinstance(metrics, Metrics) else {}),
        "nothing_learnt": nothing_learnt(metrics) or None,
    }


def _print(metrics: "AnyMetrics", images: str = "test images") -> None:
    from firstlight.evaluate.label_metrics import LabelMetrics

    if isinstance(metrics, LabelMetrics):
        _print_labels(metrics, images)
    else:
        _print_classes(metrics, images)


def _print_labels(metrics: "LabelMetrics", images: str) -> None:
    from firstlight.evaluate.label_calibration import usual_thresholds
    from firstlight.evaluate.metrics import MANY_CLASSES

    low, high = metrics.accuracy_interval
    typer.echo(
        f"mean average precision {percent(metrics.mean_average_precision)}, F1 "
        f"{percent(metrics.f1_macro)} (mean of labels), {percent(metrics.f1_micro)} (all labels)\n"
        f"exact match {percent(metrics.accuracy)} of {metrics.count:,} {images} "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %)\n"
        f"log loss {metrics.log_loss:.4f}, expected calibration error "
        f"{percent(metrics.expected_calibration_error)}\n"
    )
    _print_nothing_learnt(metrics)
    listed = metrics.per_class
    if len(listed) > MANY_CLASSES:
        ranked = sorted(listed, key=lambda row: (row.average_precision or 2.0, row.recall))
        listed = tuple(ranked[:LISTED])
        count = len(metrics.per_class)
        typer.echo(f"the {LISTED} of {count:,} labels with the lowest average precision")
    headings = ("precision", "recall", "F1", "average precision", "threshold", "images")
    rows = []
    for row in listed:
        shares = (*row.shares, row.average_precision, row.threshold)
        told = ("-" if share is None else f"{100 * share:.1f} %" for share in shares)
        rows.append([row.name, *told, f"{row.support:,}"])
    print_table([Column("label"), *(Column(heading, right=True) for heading in headings)], rows)
    whole = metrics.per_class
    if usual := usual_thresholds([row.threshold for row in whole], [row.name for row in whole]):
        typer.echo(f"\n{usual}")


def _print_nothing_learnt(metrics: "AnyMetrics") -> None:
    from firstlight.evaluate.learnt import nothing_learnt

    if why := nothing_learnt(metrics):
        typer.echo(
            f"The network has learned nothing: {why}. Train again with a smaller learning rate or "
            "more epochs, or check the labels with: firstlight data check\n"
        )


def _print_classes(metrics: "Metrics", images: str) -> None:
    from firstlight.evaluate.metrics import MANY_CLASSES
    from firstlight.evaluate.prediction import UNCALIBRATED

    low, high = metrics.accuracy_interval
    typer.echo(
        f"accuracy {percent(metrics.accuracy)} of {metrics.count:,} {images} "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %)\n"
        f"log loss {metrics.log_loss:.4f}, expected calibration error "
        f"{percent(metrics.expected_calibration_error)}\n"
    )
    _print_nothing_learnt(metrics)
    if metrics.answered is None:
        typer.echo(f"Its probabilities are {UNCALIBRATED}.\n")
    elif metrics.answered.accuracy is not None:
        typer.echo(
            f"Answered {percent(metrics.answered.coverage)} "
            f"({percent(metrics.answered.accuracy)} correct); the rest scored below the "
            f'{percent(metrics.answered.threshold)} threshold and were answered "unknown".\n'
        )
    rows, listed = [], metrics.per_class
    if len(listed) > MANY_CLASSES:
        listed = tuple(sorted(listed, key=lambda row: row.recall)[:LISTED])
        typer.echo(f"the {LISTED} of {len(metrics.per_class):,} classes with the lowest recall")
    for row in listed:
        if images == "images" and not row.support:
            continue  # already printed
        shares = (f"{100 * x:.1f} %" for x in (row.precision, row.recall, row.f1))
        rows.append([row.name, *shares, f"{row.support:,}"])
    headings = ("precision", "recall", "F1", "images")
    print_table([Column("class"), *(Column(heading, right=True) for heading in headings)], rows)
    if metrics.most_confused:
        typer.echo("\nmost confused")
    for pair in metrics.most_confused[:5]:
        true, predicted = one_line(pair.true), one_line(pair.predicted)
        typer.echo(
            f"  {true} predicted as {predicted}: {pair.count} times, {percent(pair.share)} of "
            f"all {true}"
        )


def _print_robustness(under: "Robustness") -> None:
    typer.echo(
        f"\naccuracy on {under.images:,} test images under corruptions of increasing strength"
    )
    strengths = ("none", "1", "2", "3", "4", "5")
    print_table(
        [Column("change"), *(Column(strength, right=True) for strength in strengths)],
        [
            [kind, *(f"{100 * point.accuracy:.1f} %" for point in points)]
            for kind, points in under.curves.items()
        ],
    )
