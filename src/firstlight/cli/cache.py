"""``firstlight cache list|clear``"""

from datetime import datetime
from typing import Annotated

import typer

from firstlight.cli.help import Verbs
from firstlight.cli.options import Column, Json, print_json, print_table

app = Verbs(help="What firstlight keeps on this machine: list, clear.")


@app.command("list")
def list_cache(json: Json = False) -> None:
    """List what the cache holds, how large it is, and when it was last used."""
    from firstlight.cache import MADE, ROOM, bound
    from firstlight.files import cache_folder
    from firstlight.verbs.cache import listed

    rows, most = listed(), bound()
    if json:
        print_json({"folder": str(cache_folder()), "bound": most, "shelves": rows})
        return
    columns = [
        Column("name", whole=True),
        Column("size", right=True),
        Column("last used", whole=True),
        Column("content"),
    ]
    lines = [
        [
            row["name"],
            size(row["bytes"]),
            f"{datetime.fromtimestamp(row['used']):%Y-%m-%d}",
            row["content"],
        ]
        for row in rows
    ]
    if lines:
        print_table(columns, lines)
    typer.echo(f"{size(sum(row['bytes'] for row in rows))} in {cache_folder()}")
    typer.echo(
        f"{', '.join(MADE)}: {size(most)} at most together ({ROOM}); the least recently used is "
        "removed first"
    )


@app.command()
def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            help="Names from the list; by default pictures, features, archives and shards.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Remove what can be made again. Data sets, backbones and models are removed by name only."""
    from firstlight.verbs.cache import clear as clear_cache

    done = clear_cache(names or [])
    if json:
        print_json(done)
        return
    typer.echo(f"cleared {', '.join(done['cleared'])}: {size(done['bytes'])} freed")


def size(count: int) -> str:
    """Format bytes for people, such as ``1.2 GB``."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
