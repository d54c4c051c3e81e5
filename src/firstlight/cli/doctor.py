"""``firstlight doctor``"""

from typing import Annotated, Any

import typer

from firstlight.cli.cache import size
from firstlight.cli.options import Json, print_json


def doctor(
    speed: Annotated[
        bool, typer.Option("--speed/--no-speed", help="Also measure for five seconds.")
    ] = True,
    json: Json = False,
) -> None:
    """Check this machine: versions, device, data sets, extras, speed."""
    from firstlight.verbs.doctor import examine

    found = examine(speed=speed)
    if json:
        print_json(found)
        return
    for name, text in _facts(found):
        typer.echo(f"{name:<12}{text}")
    if found["problems"]:
        typer.echo("\nproblems:")
    for problem in found["problems"]:
        typer.echo(f"- {problem}")


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    bfloat16 = "with" if found["bfloat16"] else "no"
    there = [f"{name} ({where})" for name, where in found["data"].items() if where]
    missing = [name for name, where in found["data"].items() if not where]
    kept, extras = found["cache"], found["extras"]
    free = "" if kept["free"] is None else f", {size(kept['free'])} free"
    of_cache = [f"{shelf['name']} {size(shelf['bytes'])}" for shelf in kept["shelves"]]
    facts = [
        ("firstlight", f"{found['firstlight']}, Python {found['python']}, {found['platform']}"),
        ("PyTorch", found["torch"]),
        ("processor", f"{found['processor']}, {found['instructions']}, {bfloat16} bfloat16"),
        ("threads", f"{found['threads']} of {found['processors']} processors"),
        ("device", found["accelerator"] or found["device"]),
        ("data sets", ", ".join(there) or "none on this machine"),
        ("", f"to get {missing[0]}: firstlight data fetch {missing[0]}" if missing else ""),
        ("backbones", ", ".join(found["backbones"]) or _no_backbone()),
        ("cache", ", ".join(of_cache) or "empty"),
        ("", kept["folder"] + free),
        ("extras", ", ".join(name for name, lacks in extras.items() if not lacks)),
        *(
            ("", f"without {name}: pip install 'firstlight[{name}]' ({', '.join(lacks)})")
            for name, lacks in extras.items()
            if lacks
        ),
    ]
    if "speed" in found:
        of = found["speed"]
        facts.append(
            (
                "speed",
                f"{of['images_per_second']:,.0f} images/s in training mnist-quick; matrix products "
                f"{of['gflops']:,.0f} GFLOP/s",
            )
        )
    return [(name, text) for name, text in facts if text]


def _no_backbone() -> str:
    from firstlight.backbones import BACKBONES

    return f"none; for photographs: firstlight backbones fetch {next(iter(BACKBONES))}"
