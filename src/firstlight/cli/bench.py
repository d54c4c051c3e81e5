"""``firstlight bench``"""

from pathlib import Path
from typing import Annotated, Any

import typer

from firstlight.cli.options import (
    DataDir,
    DataName,
    Device,
    Json,
    NetworkCode,
    RecipeName,
    Settings,
    asked_for,
    percent,
    print_json,
)
from firstlight.errors import UserError


def bench(
    data: DataName,
    recipe: RecipeName = None,
    settings: Settings = None,
    network: NetworkCode = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Runs, from seed 0.")] = 5,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.json", help="The figures; by default bench-<recipe>.json."
        ),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Train with several seeds: mean accuracy with its spread, seconds, memory."""
    from firstlight.recipe import refuse_settings
    from firstlight.verbs.bench import bench as run_bench
    from firstlight.verbs.run_data import DataRequest

    if seeds < 1:
        raise UserError(f"--seeds must be at least 1, not {seeds}")
    refuse_settings(settings or [], ["train.seed"], "bench uses the seeds 0, 1, 2, …")
    request = DataRequest(name=data, data_dir=data_dir)
    asked = asked_for(request, recipe, settings, device, network)

    def told(run: dict[str, Any]) -> None:
        typer.echo(
            f"seed {run['seed']}: {percent(run['test_accuracy'])} in {run['fit_seconds']:.1f} s",
            err=json,
        )
        if run["nothing_learnt"]:
            typer.echo(f"seed {run['seed']}: {run['nothing_learnt']}", err=True)

    whole, path = run_bench(request, asked, seeds, out, told=told)
    if json:
        print_json(whole)
        return
    summary = whole["summary"]
    spread, memory = summary["accuracy_sd"], summary["peak_memory_mb_max"]
    typer.echo(
        f"{whole['recipe']['name']} on {data}: {percent(summary['accuracy_mean'])}"
        + (f" ± {100 * spread:.2f}" if spread is not None else "")
        + f" (n = {summary['n']}), {summary['fit_seconds_median']:.1f} s"
        + (f", {memory:,.0f} MB" if memory is not None else "")
        + f"\nfigures {path}"
    )
