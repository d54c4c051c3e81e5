"""Check a folder of pictures, and show what was found."""

import csv
import io
from pathlib import Path

from firstlight.data.check import Checked, Finding, check
from firstlight.data.folder import list_pictures
from firstlight.errors import UserError
from firstlight.files import write_whole
from firstlight.progress import DecodingBar
from firstlight.report.images import Tile, contact_sheet
from firstlight.report.page import Page, Section, Shown, Table, render

# Groups of pictures that the page shows of each finding.
SHOWN = 12
LISTED = 200


def check_pictures(path: Path, *, size: int | None = None, quiet: bool = False) -> Checked:
    """Every fault of a folder's or CSV's pictures, most harmful first.

    Raises ``DataError`` where there are no pictures in classes.
    """
    if path.suffix.lower() == ".npz":
        raise UserError(f"{path}: wanted a folder or a CSV of picture files, not arrays")
    with DecodingBar(quiet=quiet) as bar:
        return check(list_pictures(path), size=size, progress=bar)


def write_page(checked: Checked, path: Path, out: Path) -> None:
    """One self-contained page with the pictures concerned."""
    height, width, channels = checked.shape
    page = Page(
        title=f"The pictures of {path.name}",
        lead=f"{checked.pictures:,} pictures in {len(checked.classes)} classes; training would "
        f"take them as {checked.shape_reason}",
        figures={
            "pictures": f"{checked.pictures:,}",
            "classes": f"{len(checked.classes)}",
            "findings": f"{len(checked.findings)}",
            "to leave out": f"{len(checked.exclude):,}",
            "images": f"{width}×{height}, {'grey' if channels == 1 else 'colour'}",
        },
        sections=[
            *(_section(finding, checked) for finding in checked.findings),
            Section(
                title="Classes",
                table=Table(
                    head=["class", "pictures"],
                    rows=[[name, f"{count:,}"] for name, count in checked.classes.items()],
                ),
            ),
            *(
                [Section(title="Left out of the list", code="\n".join(checked.notes))]
                if checked.notes
                else []
            ),
        ],
        foot="Made by firstlight data check. This page is one file and loads nothing from "
        "elsewhere.",
    )
    _write(out, render(page))


def write_fix_list(checked: Checked, out: Path) -> None:
    """A CSV of path and reason for ``train --exclude``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows(sorted(checked.exclude.items()))
    _write(out, text.getvalue())


def _section(finding: Finding, checked: Checked) -> Section:
    tiles = [
        [Tile(image_HWC=checked.thumbnails[name], text=name) for name in group[:4]]
        for group in finding.groups[:SHOWN]
        if all(name in checked.thumbnails for name in group[:4])
    ]
    rows = [[" · ".join(group)] for group in finding.groups[:LISTED]]
    if len(finding.groups) > LISTED:
        rows.append([f"… and {len(finding.groups) - LISTED:,} more"])
    return Section(
        title=finding.kind.capitalize(),
        text=f"{finding.text[0].upper()}{finding.text[1:]}.",
        pictures=[Shown(png=contact_sheet(tiles).png(), alt=finding.text)] if tiles else [],
        table=Table(head=["pictures"], rows=rows) if rows else None,
    )


def _write(out: Path, content: str) -> None:
    try:
        write_whole(out, content)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
