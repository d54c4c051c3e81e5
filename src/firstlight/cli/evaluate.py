"""``firstlight evaluate``"""

from typing import TYPE_CHECKING, Annotated

import typer

from firstlight.cli.options import DataDir, Device, Json, RunPath, percent, print_json, print_table

if TYPE_CHECKING:
    from firstlight.evaluate.metrics import Metrics


def evaluate(
    run: RunPath,
    require: Annotated[
        float | None,
        typer.Option(
            "--require", metavar="SHARE", help="Exit with 4 below this accuracy, such as 0.98."
        ),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Measure RUN on its test set: accuracy with its interval, per class, mistakes, report."""
    from firstlight.errors import DataError, ThresholdError, UserError
    from firstlight.runs.folder import open_run_folder
    from firstlight.verbs.evaluate import evaluate as evaluate_run
    from firstlight.verbs.report import report
    from firstlight.verbs.run_data import data_of_run

    if require is not None and not 0 <= require <= 1:
        raise UserError(f"--require wants a share between 0 and 1, such as 0.98, not {require:g}")
    folder = open_run_folder(run)
    folder.require_finished()
    data = data_of_run(folder, data_dir)
    metrics = evaluate_run(folder, device=device, data=data)
    unwritten = None
    try:
        page = str(report(folder, data=data))
    except DataError as error:  # what was measured is told all the same
        page, unwritten = None, error
    if json:
        print_json({"run": str(folder), "report": page, **metrics.to_json()})
    else:
        _print(metrics)
        typer.echo(f"\nreport {page}" if page else "")
    if unwritten is not None:
        raise unwritten
    if require is not None and metrics.accuracy < require:
        raise ThresholdError(
            f"accuracy {percent(metrics.accuracy)} is below the required {percent(require)}"
        )


def _print(metrics: "Metrics") -> None:
    from rich.table import Table

    low, high = metrics.accuracy_interval
    typer.echo(
        f"accuracy {percent(metrics.accuracy)} of {metrics.count:,} test images "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %)\n"
        f"log loss {metrics.log_loss:.4f}, expected calibration error "
        f"{percent(metrics.expected_calibration_error)}\n"
    )
    if metrics.answered is not None and metrics.answered.accuracy is not None:
        typer.echo(
            f"answers {percent(metrics.answered.coverage)} of them, of which "
            f"{percent(metrics.answered.accuracy)} right; the others are unknown to it, below a "
            f"probability of {percent(metrics.answered.threshold)}\n"
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    for row in metrics.per_class:
        shares = (f"{100 * x:.1f} %" for x in (row.precision, row.recall, row.f1))
        table.add_row(row.name, *shares, f"{row.support:,}")
    print_table(table)
    if metrics.most_confused:
        typer.echo("\nmost confused")
    for pair in metrics.most_confused[:5]:
        typer.echo(
            f"  {pair.true} taken for {pair.predicted}: {pair.count} times, "
            f"{percent(pair.share)} of all {pair.true}"
        )
