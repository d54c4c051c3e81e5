"""``firstlight train``"""

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstlight.cli.options import (
    AllowOutside,
    DataDir,
    Device,
    Json,
    NetworkCode,
    PixelRange,
    RecipeName,
    Settings,
    code_named,
    duration,
    named_recipe,
    network_part,
    percent,
    print_json,
    run_named,
)
from firstlight.errors import ThresholdError, UserError
from firstlight.untrusted import shell_word

if TYPE_CHECKING:
    from firstlight.data.dataset import TrainTest
    from firstlight.recipe import Setting
    from firstlight.runs.folder import RunFolder

# Time that Python needs to start and exit, on two idle cores.
PROCESS_SECONDS = 0.3


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A named data set (firstlight data list). Or your own: a folder, .zip or .tgz of "
            "class folders with pictures (also at an https address), a CSV of path,label (or "
            "several labels: a;b), "
            "an .npz of images and labels, or shards (.tar, .parquet, also at an address). Or "
            "hf:OWNER/NAME of the Hugging Face hub.",
            show_default=False,
        ),
    ] = None,
    recipe: RecipeName = None,
    settings: Settings = None,
    network: NetworkCode = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            rich_help_panel="Recipe and network",
            metavar="RUN|BACKBONE",
            help="Start from a run or a pretrained backbone; none: from scratch.",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs",
            rich_help_panel="Training",
            metavar="N",
            help="Epochs to train; by default $FIRSTLIGHT_EPOCHS.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--lr", rich_help_panel="Training", metavar="RATE", help="The learning rate."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", rich_help_panel="Training", metavar="N", help="Images in a batch."
        ),
    ] = None,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment",
            rich_help_panel="Training",
            help="Augment as the recipe says, or not at all.",
        ),
    ] = True,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            rich_help_panel="Training",
            metavar="TIME",
            help="Train as many epochs as fit: 90s, 3m, 1h.",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            rich_help_panel="Training",
            metavar="N",
            help="Early stopping after N epochs without a better loss.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            rich_help_panel="Training",
            metavar="N",
            help="The random seed; by default $FIRSTLIGHT_SEED.",
        ),
    ] = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run folder; by default runs/<recipe>-<N>."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            metavar="TRACKER",
            help="Copy the run to tensorboard, trackio, mlflow or wandb. Repeatable.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Continue a stopped run.", callback=run_named),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", rich_help_panel="Data", metavar="N", help="At most N images of each part."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            rich_help_panel="Data",
            metavar="PIXELS",
            help="Image side, for your own pictures.",
        ),
    ] = None,
    pixel_range: PixelRange = None,
    fixes: Annotated[
        Path | None,
        typer.Option(
            "--fixes",
            "--exclude",
            rich_help_panel="Data",
            metavar="FILE.csv",
            help="Pictures to leave out, or of another class, by path.",
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show warnings only.")] = False,
    json: Json = False,
) -> None:
    """Train a network on DATA and save it in a run folder."""
    # A budget includes the imports below, and the time before this line and after the last.
    started = time.perf_counter() - PROCESS_SECONDS
    from firstlight.data.fixes import NO_FIXES, read_fixes
    from firstlight.data.levels import stated
    from firstlight.progress import choose_display
    from firstlight.verbs.contest import resume as take_up
    from firstlight.verbs.contest import train as train_best
    from firstlight.verbs.fit import AskedAgain
    from firstlight.verbs.plan import Asked, Budget
    from firstlight.verbs.run_data import DataRequest

    display = choose_display(quiet=quiet, json=json)
    if resume is not None:
        _refuse_beside_resume(
            {
                "--recipe": recipe,
                "--set": settings or None,
                "--out": out,
                "--from": start,
                "--epochs": epochs,
                "--lr": learning_rate,
                "--batch-size": batch_size,
                "--no-augment": None if augment else True,
                "--budget": budget,
                "--patience": patience,
                "--seed": seed,
                "--limit": limit,
                "--size": size,
                "--fixes": fixes,
                "--range": pixel_range,
                "--allow-outside": allow_outside or None,
                "--track": track or None,
            }
        )
        again = AskedAgain(
            device=None if device == "auto" else device,
            data_dir=data_dir,
            data=None if data is None else Path(data),
            code=code_named(network),
        )
        _tell(take_up(resume, display, again), json=json)
        return
    if data is None:
        raise UserError("wanted a data set to train on, such as: firstlight train mnist")
    request = DataRequest(
        name=data,
        data_dir=data_dir,
        limit=limit,
        size=size,
        range=stated(pixel_range, "--range"),
        fixes=NO_FIXES if fixes is None else read_fixes(fixes),
        allow_outside=allow_outside,
        quiet=quiet,
    )
    seconds = None if budget is None else duration(budget)
    options: dict[str, tuple[str, Any]] = {
        "train.epochs": ("--epochs", epochs),
        "train.seed": ("--seed", seed),
        "train.patience": ("--patience", patience),
        "train.batch_size": ("--batch-size", batch_size),
        "optimizer.learning_rate": ("--lr", learning_rate),
        "augment": ("--no-augment", None if augment else []),
    }
    changes = _settings(settings or [], options, seconds)
    asked = Asked(
        recipe=named_recipe(recipe, changes, start, seconds) if recipe else None,
        parts=network_part(network),
        settings=changes,
        start=start,
        budget=None if seconds is None else Budget(seconds=seconds, started=started),
        device=device,
        track=track or (),
        told=partial(_tell_of_data, quiet=quiet, json=json),
    )
    _tell(train_best(request, asked, display, out), json=json)


def _refuse_beside_resume(given: dict[str, object]) -> None:
    """Raise ``UserError`` for options that define how a run starts."""
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise UserError(
            "--resume continues with the options the run was started with; leave out "
            f"{', '.join(extra)}"
        )


def _settings(
    settings: list[str], options: dict[str, tuple[str, Any]], budget: float | None
) -> "list[str | Setting]":
    """Return all changes of the recipe: first from the environment, then ``--set``, then the
    options."""
    from firstlight.recipe import Setting

    first = list[Setting]()
    for name in ("epochs", "seed"):
        variable = f"FIRSTLIGHT_{name.upper()}"
        value = os.environ.get(variable)
        if value and not (name == "epochs" and budget is not None):
            first.append(Setting(f"train.{name}={value}", variable, asked=False))
    last = [
        Setting(f"{key}={value}", option)
        for key, (option, value) in options.items()
        if value is not None
    ]
    return [*first, *settings, *last]


def _tell_of_data(data: "TrainTest", *, quiet: bool, json: bool) -> None:
    """Print the facts about the data, or only the warnings."""
    for text in data.train.warnings if quiet else data.train.notes:
        typer.echo(text, err=json or quiet)


def _tell(folder: "RunFolder", *, json: bool) -> None:
    """Print how the run ended. Raises ``ThresholdError`` if it is no better than guessing."""
    from firstlight.verbs.contest import contest_of
    from firstlight.verbs.several import speaks

    if not speaks():
        return
    summary = folder.read_json("summary.json")
    if json:
        print_json({"run": str(folder), **summary, **contest_of(folder)})
        _require_learnt(summary)
        return
    kept = summary["kept_epoch"]
    typer.echo(f"{summary['parameters']:,} parameters, {summary['train_seconds']:.1f} s training")
    if kept["validation_accuracy"] is not None:
        early = kept["epoch"] < summary["epochs"]
        which = f" after epoch {kept['epoch']}, whose weights are kept" if early else ""
        described = folder.read_json("data.json")
        what = "accuracy" if described.get("labels") is None else "exact match"
        # None if too few images were held out and the fit was cross-validated on all of them.
        validated_on = described["validated_on"] or {"images": described["trained_on"]}
        count, share = validated_on["images"], percent(kept["validation_accuracy"])
        typer.echo(f"validation {what} {share} of {count:,} image{'s' * (count != 1)}{which}")
    code = folder.code
    more = "" if code is None else f" --network {code.word}"
    typer.echo(f"run {folder}\nnext: firstlight evaluate {shell_word(folder)}{more}")
    _require_learnt(summary)


def _require_learnt(summary: dict[str, Any]) -> None:
    """Raise ``ThresholdError`` if the network is no better than guessing; the run is kept."""
    if summary["nothing_learnt"]:
        raise ThresholdError(summary["nothing_learnt"])
