"""``firstlight explain``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.checked import NO_LABEL
from firstlight.cli.options import (
    DataDir,
    Device,
    Json,
    NetworkCode,
    OtherData,
    RunPath,
    code_named,
    percent,
    print_json,
)
from firstlight.untrusted import one_line


def explain(
    run: RunPath,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="A picture, - for standard input, or test:N for a test image."
        ),
    ],
    data: OtherData = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Explain this class instead of the answer."),
    ] = None,
    network: NetworkCode = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show what the answer for IMAGE is based on, and the output of every layer."""
    from firstlight.model import run_model
    from firstlight.progress import CountingBar
    from firstlight.runs.folder import open_run_folder
    from firstlight.verbs.explain import explain as explain_image

    with CountingBar("comparing it with", quiet=json) as bar:
        result = explain_image(
            run_model(open_run_folder(run, code_named(network)), device),
            image,
            class_name=class_name,
            data_dir=data_dir,
            data=None if data is None else Path(data),
            progress=bar,
        )
    if result.missing:
        typer.echo(f"the nearest training images are left out: {result.missing}", err=True)
    if json:
        print_json(result.to_json())
        return
    answer = result.prediction
    assert answer.confidence is not None
    said = f"{one_line(answer.best or '')} {percent(answer.confidence)}"
    if answer.labels is not None:
        shares = [f"{one_line(one)} {percent(answer.probabilities[one])}" for one in answer.labels]
        said = f"{', '.join(shares) or NO_LABEL}; evidence for {one_line(result.class_name)}"
    if answer.unknown:
        said = f"unknown ({said})"
    if result.truth is not None:
        said += f", is {one_line(result.truth)}"
    typer.echo(f"{one_line(answer.name)}: {said}")
    if answer.notes:
        typer.echo(f"  {'; '.join(answer.notes)}")
    typer.echo(f"sheet {result.sheet}\npage {result.page}")
