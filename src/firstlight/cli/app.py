"""The ``firstlight`` command: its verbs, its version, and its error messages."""

import atexit
import gc
import os
import sys
from typing import Annotated

import typer

from firstlight import __version__
from firstlight.cli import (
    backbones,
    bench,
    cache,
    card,
    data,
    doctor,
    evaluate,
    explain,
    export,
    import_,
    lr_find,
    network,
    predict,
    push,
    recipe,
    report,
    runs,
    serve,
    studio,
    track,
    train,
    tune,
)
from firstlight.cli.help import Verbs
from firstlight.errors import RunInterruptedError, UserError
from firstlight.launcher import first_here, named
from firstlight.packages import package_of, trouble
from firstlight.terminal import screened

# Number of new objects before Python collects garbage. PyTorch creates 170,000 objects that stay;
# walking over them took a tenth of a second each time.
NEW_OBJECTS = 100_000

app = Verbs(
    name="firstlight",
    help="Train, evaluate, look inside and ship a small image classifier of your own.",
    pretty_exceptions_enable=False,
)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("card")(card.card)
app.command("push")(push.push)
app.command("import")(import_.import_)
app.command("track")(track.track)
app.command("network")(network.network)
app.command("runs")(runs.runs)
app.command("serve")(serve.serve)
app.command("studio")(studio.studio)
app.command("lr-find")(lr_find.lr_find)
app.command("tune")(tune.tune)
app.command("bench")(bench.bench)
app.add_typer(data.app, name="data")
app.add_typer(backbones.app, name="backbones")
app.add_typer(recipe.app, name="recipe")
app.add_typer(cache.app, name="cache")
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"firstlight {__version__}")
        raise typer.Exit
    verb = context.invoked_subcommand
    if verb not in ("train", None) and named() and os.environ["WORLD_SIZE"] != "1":
        if os.environ["RANK"] == "0":
            typer.echo(
                f"firstlight: only train runs on several processes. Run firstlight {verb} once, "
                "without a launcher such as torchrun",
                err=True,
            )
        sys.exit(UserError.exit_code)


def run() -> None:
    """Run the command; see ``main``."""
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # at exit, collecting takes a quarter of a second for nothing
    with screened():
        _run()


def _refuse_launchers_options(words: list[str]) -> None:
    """Raise ``UserError`` for an option that belongs to torchrun."""
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if option in ("--nproc", "--nproc-per-node", "--nnodes"):
            raise UserError(
                f"{option} is an option of the launcher that starts the processes: torchrun "
                "--standalone --nproc-per-node 2 -m firstlight train ..."
            )


def _run() -> None:
    try:
        _refuse_launchers_options(sys.argv[1:])
        app(prog_name="firstlight")
    except UserError as error:
        if not error.told and (first_here() or isinstance(error, RunInterruptedError)):
            typer.echo(f"firstlight: {error}", err=True)
        sys.exit(error.exit_code)
    except ImportError as error:  # only part of the packages is installed, or one is broken
        name = (error.name or "firstlight").partition(".")[0]
        if name == "firstlight":
            raise
        typer.echo(
            f"firstlight: this needs {name}{trouble(name, error)} {package_of(name)}, or "
            "reinstall firstlight with its dependencies",
            err=True,
        )
        sys.exit(UserError.exit_code)
    except RuntimeError as error:  # PyTorch's error about GPU memory or this machine
        if "memory" not in str(error):
            raise
        typer.echo(
            "firstlight: out of memory. Try gradient accumulation (--set "
            "train.micro_batch_size=N with N below train.batch_size), or a smaller network "
            f"({str(error).splitlines()[0][:150]})",
            err=True,
        )
        sys.exit(UserError.exit_code)
    except SystemExit as stop:
        if stop.code == RunInterruptedError.exit_code:  # Ctrl-C with nothing to save
            typer.echo("firstlight: interrupted; nothing was saved", err=True)
        raise
