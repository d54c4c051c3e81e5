"""``firstlight data list|fetch|show|check|pack``"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firstlight.cli.help import Verbs
from firstlight.cli.options import (
    AllowOutside,
    Column,
    DataDir,
    Json,
    PixelRange,
    print_json,
    print_table,
)
from firstlight.untrusted import one_line, shell_line

if TYPE_CHECKING:
    from firstlight.data.entry import Entry
    from firstlight.data.findings import Finding

app = Verbs(help="Data sets: list, fetch, show, check and pack.")
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="A data set.")]


@app.command("list")
def list_sets(data_dir: DataDir = None, json: Json = False) -> None:
    """List the named data sets and whether they are on this machine."""
    from firstlight.data.catalog import CATALOG
    from firstlight.data.load import where_found

    rows = [{**_facts(e), "found": _text(where_found(e, data_dir))} for e in CATALOG.values()]
    if json:
        print_json(rows)
        return
    columns = [Column("name", whole=True), Column("what"), Column("train", right=True)]
    columns += [Column("test", right=True), Column("here", whole=True)]
    lines = []
    for row in rows:
        here = "yes" if row["found"] else "no"
        if not CATALOG[row["name"]].files:
            here = "embedded"
        lines.append([row["name"], row["title"], f"{row['train']:,}", f"{row['test']:,}", here])
    print_table(columns, lines)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets, or all.")],
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Fetch data sets from their public addresses, and check them."""
    from firstlight.data.catalog import CATALOG
    from firstlight.data.load import entry_named, fetch_files, is_complete, load, where_found
    from firstlight.progress import DownloadBar

    wanted = list(CATALOG) if names == ["all"] else names
    entries = [entry_named(name) for name in wanted]
    done = []
    for entry in entries:
        if entry.files and not is_complete(entry, data_dir):
            with DownloadBar() as bar:
                fetch_files(entry, data_dir, None if json else bar)
        warnings = load(entry.name, data_dir, download=False).train.warnings  # checks files
        found = _text(where_found(entry, data_dir))
        done.append({"name": entry.name, "found": found, "verified": not warnings})
        if not json and not warnings:
            typer.echo(f"{entry.name}: complete and verified, in {found}")
        for warning in warnings:
            typer.echo(warning, err=json)
    if json:
        print_json(done)


@app.command()
def check(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", show_default=False, help="Your own pictures."),
    ],
    size: Annotated[
        int | None, typer.Option("--size", metavar="PIXELS", help="Image side, as in train.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="FILE.html", help="Also show the affected pictures."),
    ] = None,
    fix_list: Annotated[
        Path | None,
        typer.Option("--fix-list", metavar="FILE.csv", help="Also list what to leave out."),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="Also find likely wrong labels: by a backbone's features, or by networks trained "
            "for minutes.",
        ),
    ] = False,
    map_page: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE.html", help="Also draw a map of the pictures, by a backbone."
        ),
    ] = None,
    pixel_range: PixelRange = None,
    allow_outside: AllowOutside = False,
    json: Json = False,
) -> None:
    """Find problems in your own pictures: leaks, copies, damage, imbalance."""
    from firstlight.data.archive_address import is_archive_address
    from firstlight.data.levels import stated
    from firstlight.data.own import is_arrays
    from firstlight.data.shards.files import is_address, is_there, word_of
    from firstlight.errors import UserError
    from firstlight.hub.word import is_hub
    from firstlight.progress import CountingBar
    from firstlight.verbs.check import check_pictures, write_fix_list, write_page
    from firstlight.verbs.picture_map import need_backbone, write_map

    asked = (("--page", page, ".html"), ("--map", map_page, ".html"))
    for option, out, ending in (*asked, ("--fix-list", fix_list, ".csv")):
        if out is not None and out.suffix.lower() != ending:
            raise UserError(f"{option}: wanted a file name that ends in {ending}, got {out}")
    if is_address(path) and not is_hub(path) and not is_archive_address(path):
        raise UserError(f"{word_of(path)}: wanted pictures on this machine, not an address")
    if not is_there(path):
        raise UserError(f"{path}: no such folder or CSV")
    arrays = is_arrays(path)
    if arrays and fix_list is not None:
        raise UserError(f"--fix-list lists picture files, and {path} holds arrays; leave it out")
    if map_page is not None:
        if arrays:
            raise UserError(f"--map is for picture files, and {path} holds arrays; leave it out")
        need_backbone()
    checked = check_pictures(
        path,
        size=size,
        labels=labels,
        bars=partial(CountingBar, quiet=json),
        allow_outside=allow_outside,
        given=stated(pixel_range, "--range"),
    )
    if page is not None:
        write_page(checked, path, page)
    if map_page is not None:
        write_map(path, checked, map_page, allow_outside=allow_outside, quiet=json)
    if fix_list is not None:
        write_fix_list(checked, fix_list)
    if json:
        print_json(
            {
                "pictures": checked.pictures,
                "classes": checked.classes,
                "image_shape": checked.shape,
                "shape_reason": checked.shape_reason,
                "findings": [asdict(finding) for finding in checked.findings],
                "notes": checked.notes,
                "exclude": checked.exclude,
                "mend_first": checked.mend_first,
            }
        )
        return
    typer.echo(f"{checked.counted}; training would use {checked.shape_reason}")
    for note in checked.notes:
        typer.echo(f"  {one_line(note)}")
    for finding in checked.findings:
        typer.echo(f"{'!' if finding.severe else '-'} {finding.kind}: {finding.text}")
        lines = _lines(finding)
        shown = 10 if finding.suspects or finding.details else 3
        for line in lines[:shown]:
            typer.echo(f"    {one_line(line)}")
        if len(lines) > shown:
            typer.echo(f"    … and {len(lines) - shown:,} more")
    if not checked.findings:
        typer.echo("no problems found")
    if page is not None:
        typer.echo(f"page {page}")
    if map_page is not None:
        typer.echo(f"map {map_page}")
    if fix_list is not None:
        typer.echo(f"{len(checked.exclude):,} pictures to leave out in {fix_list}")
    if checked.mend_first:
        again = shell_line(["firstlight", "data", "check", str(path), *_range(pixel_range)])
        typer.echo(f"next: fix these first, then {again}: {', '.join(checked.mend_first)}")
    elif fix_list is not None:
        train = shell_line(["firstlight", "train", str(path), "--fixes", str(fix_list)])
        typer.echo(f"next: {train}")
    if fix_list is None and checked.exclude:
        typer.echo("list what to leave out with --fix-list FILE.csv, see it with --page FILE.html")
    elif page is None and any(finding.suspects for finding in checked.findings):
        typer.echo("see them with --page FILE.html")
    if not labels and not arrays:
        typer.echo("look for wrong labels with --labels (seconds with a backbone, minutes without)")


@app.command()
def pack(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Your own pictures, arrays, other shards, or a named set.",
        ),
    ],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="DIR", show_default=False, help="A new folder for them."),
    ],
    pixel_range: PixelRange = None,
    allow_outside: AllowOutside = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write pictures into WebDataset's tar shards: files unchanged, arrays as PNG."""
    from firstlight.data.levels import stated
    from firstlight.verbs.pack import pack as pack_into
    from firstlight.verbs.run_data import DataRequest

    request = DataRequest(
        name=path,
        data_dir=data_dir,
        range=stated(pixel_range, "--range"),
        allow_outside=allow_outside,
        download=False,
        quiet=json,
    )
    packed = pack_into(request, to)
    if json:
        print_json({"folder": str(to), **asdict(packed.written), "notes": packed.notes})
        return
    for note in packed.notes:
        typer.echo(one_line(note))
    count = len(packed.written.shards)
    typer.echo(
        f"{packed.written.images:,} images in {count:,} shard{'' if count == 1 else 's'}, "
        f"{packed.written.bytes / 1e6:,.1f} MB, in {to}"
    )
    typer.echo(f"next: {shell_line(['firstlight', 'train', str(to)])}")


def _range(given: tuple[float, float] | None) -> list[str]:
    return [] if given is None else ["--range", *(f"{one:g}" for one in given)]


def _lines(finding: "Finding") -> list[str]:
    """Return one line per group of pictures, or one per suspect with the suspicion."""
    if finding.suspects:
        return [
            f"{s.name}: {s.given} → {s.suggested} ({100 * s.probability:.1f} % for {s.given})"
            for s in finding.suspects
        ]
    return [*finding.details] or ["  =  ".join(group) for group in finding.groups]


@app.command()
def show(name: Name, data_dir: DataDir = None, json: Json = False) -> None:
    """Show what is known about a data set: classes, sizes, source, licence, checksums."""
    from firstlight.data.entry import FileFormat
    from firstlight.data.load import entry_named, where_found

    entry = entry_named(name)
    found = where_found(entry, data_dir)
    facts = {
        **_facts(entry),
        "class_names": entry.class_names,
        "licence": entry.licence,
        "citation": entry.citation,
        "files": [asdict(file) for file in entry.files],
        "content_sha256": None if entry.content is None else asdict(entry.content),
        "found": _text(found),
    }
    if json:
        print_json(facts)
        return
    height, width, channels = entry.image_shape
    kind = "grey" if channels == 1 else "colour"
    lines = [
        f"{entry.name}: {entry.title}",
        f"  images    {entry.train_count:,} to train, {entry.test_count:,} to test; "
        f"{height}×{width} pixels, {kind}",
        f"  classes   {', '.join(entry.class_names)}",
        f"  here      {_text(found) or f'no; fetch it with: firstlight data fetch {name}'}",
        f"  licence   {entry.licence}",
        f"  citation  {entry.citation}",
    ]
    for file in entry.files:
        lines += [f"  {file.name}  {file.size:,} bytes  md5 {file.md5}"]
        lines += [f"    {url}" for url in file.urls]
    if isinstance(entry.reader, FileFormat) and entry.content is None:
        lines += ["  checked by the published md5 of these files"]
        if entry.reader.compares_unpacked:
            lines += ["  and of the files in them"]
        else:
            lines += [
                "  of unpacked files, only counts, shapes and the range of labels are checked"
            ]
    elif entry.content is not None:
        lines += ["  checked by the sha256 of the decoded bytes"]
        lines += [f"    {k.replace('_', ' '):12}  {v}" for k, v in asdict(entry.content).items()]
    typer.echo("\n".join(lines))


def _facts(entry: "Entry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "image_shape": entry.image_shape,
        "train": entry.train_count,
        "test": entry.test_count,
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
