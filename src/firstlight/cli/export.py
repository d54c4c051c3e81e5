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
    from firstlight.verbs.export import Exported


def export(
    run: RunPath,
    data: OtherData = None,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", help="onnx, safetensors, torch-export or keras.")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="By default the run's name, here; a file of that name is replaced.",
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="Of ONNX; 18 by default.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in eight bits, and measure what that costs.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Also where int8 costs more than 0.3 points."),
    ] = False,
    network: NetworkCode = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write RUN as a file for other programs, once it has answered the test set as RUN does."""
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
    from firstlight.verbs.export import LARGEST_LOSS

    parity = done.parity
    typer.echo(f"{done.path}, {done.size / 1e6:.2f} MB, {percent(done.accuracy)} right")
    if done.loss is None:
        typer.echo(
            f"the same class as the run for all {parity.images:,} test images, probabilities "
            f"within {parity.largest_difference:.1e}"
        )
        return
    typer.echo(f"int8 loses {done.loss.words()}; it gives {parity.other_classes} another class")
    if done.loss.few:
        typer.echo(
            "these are few test images: one more or less is more than the "
            f"{100 * LARGEST_LOSS:g} points that int8 may lose"
        )
