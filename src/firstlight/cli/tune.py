"""``firstlight tune``"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstlight.cli.options import (
    Column,
    DataDir,
    DataName,
    Device,
    Json,
    NetworkCode,
    RecipeName,
    Settings,
    Storage,
    asked_for,
    duration,
    percent,
    print_json,
    print_table,
)
from firstlight.terminal import console
from firstlight.untrusted import shell_line

if TYPE_CHECKING:
    from firstlight.verbs.tune import Found

SHOWN = 10
"""Number of best trials to show."""


def tune(
    data: DataName,
    recipe: RecipeName = None,
    settings: Settings = None,
    network: NetworkCode = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", help="Trials of all workers together; by default 30."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="TIME", help="Run no trial that would end later: 30m, 2h."
        ),
    ] = None,
    search: Annotated[
        Path | None,
        typer.Option(
            "--search", metavar="FILE.toml", help="What to try; the usual settings by default."
        ),
    ] = None,
    storage: Storage = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="The search's name; by default from recipe and data."
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", metavar="N", help="Runs of the chosen recipe; 0: no test set."),
    ] = 3,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The search's folder; by default runs/tune-NAME."
        ),
    ] = None,
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    """Search for the best settings of a recipe, on any number of workers."""
    started = time.perf_counter()
    from firstlight.progress import WithoutEpochs, choose_display
    from firstlight.verbs.plan import Budget
    from firstlight.verbs.run_data import DataRequest
    from firstlight.verbs.tune import Search
    from firstlight.verbs.tune import tune as search_for
    from firstlight.verbs.tune_report import as_json, write_found

    seconds = None if budget is None else duration(budget)
    wanted = Search(
        trials=trials,
        budget=None if seconds is None else Budget(seconds=seconds, started=started),
        space=search,
        storage=storage,
        name=name,
        seeds=seeds,
        out=out,
    )
    request = DataRequest(name=data, data_dir=data_dir, quiet=quiet or json)
    asked = asked_for(request, recipe, settings, device, network)
    display = WithoutEpochs(choose_display(quiet=quiet, json=json))
    found = search_for(request, asked, wanted, display)
    best = write_found(found)
    if json:
        print_json(as_json(found))
        return
    _show(found)
    words = ["firstlight", "train", data, "--recipe", str(best)]
    words += [] if network is None else ["--network", network]
    typer.echo(f"best recipe {best}\nnext: {shell_line(words)}")


def _fitting(keys: "list[str]", width: int | None) -> int:
    """Return how many settings, most important first, fit in columns of ``width`` characters; None
    means any width. trials.csv has all of them."""
    from firstlight.verbs.tune import short

    if width is None:
        return len(keys)
    left, count = width - len("trial  held out    loss"), 0
    for key in keys:
        left -= 2 + max(len(short(key)), len("1.23e-05"))
        count += left >= 0
    return max(1, count)


def _show(found: "Found") -> None:
    from firstlight.evaluate.metrics import wilson_interval
    from firstlight.verbs.tune import short, value_text
    from firstlight.verbs.tune_report import best_first

    rows = best_first(found)
    keys = [*found.importances, *(s.key for s in found.space if s.key not in found.importances)]
    keys = keys[: _fitting(keys, console().width if console().is_terminal else None)]
    columns = [
        Column("trial", right=True),
        Column("held out", right=True),
        Column("loss", right=True),
        Column("epochs", right=True, spare=True),
        Column("seconds", right=True, spare=True),
        *(Column(short(key), right=True) for key in keys),
    ]
    typer.echo("")
    print_table(
        columns,
        [
            [
                str(one.number),
                percent(one.figures["accuracy"]),
                f"{one.figures['loss']:.4f}",
                str(one.figures["epochs"]),
                f"{one.figures['seconds']:.1f}",
                *(value_text(one.params.get(key, "")) for key in keys),
            ]
            for one in rows[:SHOWN]
        ],
    )
    ends = {"finished": "trained to the end", "stopped": "stopped early (pruned)"}
    ends |= {"failed": "failed", "interrupted": "interrupted and repeated"}
    counts = {how: sum(one.state == state for one in found.trials) for state, how in ends.items()}
    typer.echo(
        f"\n{len(found.trials)} trial{'' if len(found.trials) == 1 else 's'}: "
        f"{', '.join(f'{count} {how}' for how, count in counts.items() if count)}"
        f"{f'; the best {SHOWN} are shown' if len(rows) > SHOWN else ''}"
    )
    right = round(found.best.figures["accuracy"] * found.held_out)
    low, high = wilson_interval(right, found.held_out)
    typer.echo(
        f"{found.held_out:,} images were held out. The 95 % interval of trial "
        f"{found.best.number} is {100 * low:.1f} to {100 * high:.1f} %"
    )
    if found.importances:
        shares = ", ".join(
            f"{short(key)} {100 * share:.0f} %" for key, share in found.importances.items()
        )
        typer.echo(f"importance: {shares}")
    if found.mean is not None:
        spread = "" if found.deviation is None else f" ± {100 * found.deviation:.2f}"
        typer.echo(
            f"trial {found.best.number} on the test set: {percent(found.mean)}{spread} "
            f"(n = {len(found.accuracies)})"
        )
        if found.readings > 1:
            typer.echo(
                f"The test set was used for {found.readings} recipes of this search. The best of "
                "several results looks better than it is."
            )
