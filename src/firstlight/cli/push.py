"""``firstlight push``"""

from dataclasses import asdict
from typing import Annotated

import typer

from firstlight.cli.options import Json, RunPath, print_json


def push(
    run: RunPath,
    repository: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/NAME",
            help="Your user name or organization, and a name for the run.",
            show_default=False,
        ),
    ],
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a new repository.")
    ] = False,
    license: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--license", metavar="ID", help="The licence of the weights, such as mit or cc-by-4.0."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Publish a run on the Hugging Face hub, with a model card.

    Only you can see a new repository, unless you say --public. No pictures are published, and no
    paths of this machine. Others open it as hf:OWNER/NAME.
    """
    from firstlight.runs.folder import open_run_folder
    from firstlight.untrusted import shell_word
    from firstlight.verbs.push import push as publish

    folder = open_run_folder(run)
    done = publish(folder, repository, public=public, license=license)
    if not done.measured:
        typer.echo(
            "The card has no figures of the test images. Measure them with: firstlight evaluate "
            f"{shell_word(folder)}, then push again",
            err=True,
        )
    if json:
        print_json(asdict(done))
        return
    typer.echo(f"published {', '.join(done.files)} ({done.size / 1e6:.1f} MB)")
    typer.echo(f"page {done.page}\nopen it with: firstlight predict {done.word} picture.png")
