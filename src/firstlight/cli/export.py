"""``firstlight export``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstlight.cli.options import (
    DataDir,
    Json,
    NetworkCode,
    OtherData,
    RunPath,
    code_named,
    percent,
    print_json,
)

if TYPE_CHECKING:
    from firstlight.verbs.export import AccuracyLoss, Exported


def export(
    run: RunPath,
    data: OtherData = None,
    format: Annotated[  # noqa: A002
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="onnx, safetensors, torch-export, keras, litert or triton.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="The file, which is replaced, or for triton a new folder; by default named after "
            "the run.",
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="The opset of ONNX; 18 by default.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in eight bits, and measure what that costs.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Write it even if int8 costs more than 0.3 points."),
    ] = False,
    network: NetworkCode = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Convert RUN to another format, and check that it gives the same answers on the test set."""
    from firstlight.runs.folder import open_run_folder
    from firstlight.verbs.export import Form
    from firstlight.verbs.export import export as export_run

    done = export_run(
        open_run_folder(run, code_named(network)),
        Form(format=format, opset=opset, int8=int8, accept_loss=accept_loss),
        out=out,
        data_dir=data_dir,
        data=None if data is None else Path(data),
    )
    if json:
        print_json(done.to_json())
    else:
        _print(done)


def _print(done: "Exported") -> None:
    from firstlight.evaluate.task import task_of

    parity, task = done.parity, task_of(done.several)
    share = percent(done.accuracy)
    right = f"{task.accuracy} {share}" if done.several else f"{share} correct"
    typer.echo(f"{done.path}, {done.size / 1e6:.2f} MB, {right}")
    if done.loss is None:
        typer.echo(
            f"same {task.answer} as the run for all {parity.images:,} test images; probabilities "
            f"agree within {parity.largest_difference:.1e}"
        )
    else:
        _print_loss(
            done.loss,
            f"{parity.other_classes} get {'other' if done.several else 'another'} {task.answer}",
        )
    if done.served_as is not None:
        typer.echo(f"Triton serves it as {done.served_as}; see {done.path / 'README.md'}")


def _print_loss(loss: "AccuracyLoss", others: str) -> None:
    from firstlight.verbs.export import LARGEST_LOSS

    typer.echo(f"int8 loses {loss.words()}; {others}")
    if loss.few:
        typer.echo(
            f"there are few test images: a single one is more than the {100 * LARGEST_LOSS:g} "
            "points that int8 may lose"
        )
