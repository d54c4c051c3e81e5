"""``firstlight backbones list|fetch|show``"""

from pathlib import Path
from typing import Annotated, Any

import typer

from firstlight.cli.help import Verbs
from firstlight.cli.options import Column, Json, print_json, print_table

app = Verbs(help="Pretrained networks to start from: list, fetch, show.")
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="A backbone.")]


@app.command("list")
def list_backbones(json: Json = False) -> None:
    """List the backbones and whether their weights are on this machine."""
    from firstlight.verbs.backbones import listed

    rows = listed()
    if json:
        print_json(rows)
        return
    columns = [Column("name", whole=True), Column("here", whole=True), Column("side", right=True)]
    columns += [Column("ImageNet top-1", right=True), Column("parameters", right=True)]
    columns += [Column("multiply-adds", right=True, spare=True)]
    columns += [Column("weights' licence", whole=True)]
    lines = [
        [
            row["name"],
            "yes" if row["here"] else "no",
            f"{row['side']} px",
            f"{row['top1']:.1f} %",
            _millions(row["parameters"]),
            _millions(row["multiply_adds"]),
            row["weights_licence"],
        ]
        for row in rows
    ]
    print_table(columns, lines)
    typer.echo("details of one: firstlight backbones show NAME")


@app.command()
def fetch(
    name: Name,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE.safetensors", help="Take the weights from this file."),
    ] = None,
    json: Json = False,
) -> None:
    """Put a backbone's weights into the cache, from a file, this machine, or the hub."""
    from firstlight.backbones import backbone_named
    from firstlight.backbones.weights import fetch_backbone
    from firstlight.verbs.backbones import told

    here = fetch_backbone(name, file, quiet=json)
    if json:
        print_json(told(here))
        return
    checked = "that of the published file"
    if not here.verified:
        published = backbone_named(name).hub.sha256
        why = "not that of the published file" if published else "the published one is not known"
        checked = f"{why}; the names and shapes of all tensors match"
    typer.echo(f"{name}: from {here.origin}")
    typer.echo(f"  SHA-256 {here.sha256}, {checked}")
    typer.echo(f"  kept in {here.folder}")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show what is known about a backbone, and measure its images per second."""
    from firstlight.backbones import backbone_named
    from firstlight.verbs.backbones import facts, images_a_second, kept_facts

    backbone = backbone_named(name)
    known = {
        **facts(backbone),
        "kept": kept_facts(backbone),
        "images_a_second": images_a_second(backbone),
    }
    if json:
        print_json(known)
        return
    typer.echo("\n".join(_lines(known)))


def _lines(known: dict[str, Any]) -> list[str]:
    hub, package, kept = known["hub"], known["package"], known["kept"]
    mean, std = (", ".join(f"{one:.3f}" for one in known[key]) for key in ("mean", "std"))
    lines = [
        f"{known['name']}: {known['title']} ({known['paper']})",
        f"  images         {known['side']}×{known['side']}, colour, {known['interpolation']}; "
        f"less {mean}, over {std}",
        f"  ImageNet       {known['top1']:.1f} % top-1 ({known['top1_source']})",
        f"  parameters     {known['parameters']:,}",
        f"  multiply-adds  {known['multiply_adds']:,} for one image",
        f"  speed          {known['images_a_second']:.0f} images a second, just measured on this "
        "machine",
        f"  licence        code {known['code_licence']}, weights {known['weights_licence']}",
        f"  note           {known['note']}",
        f"  weights        {hub['repository']} on the Hugging Face hub, {hub['file']}, "
        f"{hub['megabytes']} MB",
        f"    revision     {hub['revision']}",
        f"    SHA-256      {hub['sha256'] or 'not known: only names and shapes are checked'}",
    ]
    if package is not None:
        lines.append(f"  or             the Python package {package['package']}, {package['file']}")
        lines.append(f"    SHA-256      {package['sha256']}")
    if kept is not None:
        lines.append(f"  here           {kept['folder']}, from {kept['origin']}")
        lines.append(f"    SHA-256      {kept['sha256']} of the file it came from")
    elif known["here"]:
        lines.append("  here           yes; converted on first use")
    else:
        lines.append(f"  here           no; firstlight backbones fetch {known['name']}")
    lines.append(f"the layers: firstlight network {known['name']}")
    return lines


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M"
