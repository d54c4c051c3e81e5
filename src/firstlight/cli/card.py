"""``firstlight card``"""

from pathlib import Path
from typing import Annotated

import typer

from firstlight.cli.options import RunPath, print_exact


def card(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.md", help="Where to write it; printed by default."),
    ] = None,
    license: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--license", metavar="ID", help="The licence of the weights, such as mit or cc-by-4.0."
        ),
    ] = None,
) -> None:
    """Write a model card for RUN: data, training, accuracy, limits and use.

    It is Markdown that begins with metadata in the form of the Hugging Face hub. Its figures are
    those of firstlight evaluate.
    """
    from firstlight.files import write_asked
    from firstlight.runs.folder import open_run_folder
    from firstlight.untrusted import shell_word
    from firstlight.verbs.card import card as card_of

    folder = open_run_folder(run)
    text = card_of(folder, license=license)
    if "\n## Calibration\n" not in text:
        typer.echo(
            "The card has no figures of the test images. Measure them first with: firstlight "
            f"evaluate {shell_word(folder)}",
            err=True,
        )
    if out is None:
        print_exact(text)
        return
    write_asked(out, text)
    typer.echo(f"card {out}")
