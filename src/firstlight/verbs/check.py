"""Check a folder of pictures, and show what was found."""

from dataclasses import replace
from pathlib import Path

from firstlight.backbones import BACKBONES
from firstlight.checked import joined_labels
from firstlight.data.arrays import ArrayForm
from firstlight.data.check import DataCheck, check, check_arrays
from firstlight.data.check_copies import TWO_CLASSES, moved_found, settled
from firstlight.data.findings import Finding
from firstlight.data.levels import Range
from firstlight.data.listing import Listing
from firstlight.data.own import read_arrays
from firstlight.data.table import list_pictures
from firstlight.errors import UserError
from firstlight.files import write_asked
from firstlight.progress import Bars, CountingBar
from firstlight.report.images import Tile, contact_sheet
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.untrusted import cell, csv_text
from firstlight.verbs.feature_view import (
    FeatureView,
    are_photographs,
    backbone_here,
    compute_features,
    copies_by_features,
)
from firstlight.verbs.labels import (
    LabelCheck,
    check_labels,
    check_labels_by_features,
    need_cleanlab,
)

# Most groups of pictures that the page shows for each finding.
SHOWN = 12
LISTED = 200


def check_pictures(
    path: Path,
    *,
    size: int | None = None,
    labels: bool = False,
    allow_outside: bool = False,
    given: Range | None = None,
    bars: Bars = CountingBar,
) -> DataCheck:
    """Return every problem in a folder of pictures, most harmful first.

    With ``labels``, also find pictures that may be in the wrong class: by features if a backbone is
    on this machine and the pictures are photographs, otherwise by networks trained for it.
    ``allow_outside`` accepts files in a CSV that lie outside its folder; ``given`` is the range of
    arrays; ``bars`` shows the progress. Raises ``DataError`` if there
    are no pictures in classes, and ``UserError`` if ``labels`` needs a package that is not
    installed.
    """
    if (arrays := read_arrays(path, ArrayForm(range=given))) is not None:
        if labels or allow_outside:
            raise UserError(f"{path} holds arrays; --labels and --allow-outside are for files")
        with bars("decoding") as bar:
            return check_arrays(*arrays, size=size, progress=bar)
    if given is not None:
        raise UserError(f"--range is for images in arrays, which {path} is not")
    if labels:
        need_cleanlab()
    listing = list_pictures(path, allow_outside=allow_outside)
    with bars("decoding") as bar:
        checked = check(listing, size=size, progress=bar)
    if not labels:
        return checked
    backbone = backbone_here()
    if backbone and are_photographs(path, checked.shape[2], allow_outside=allow_outside):
        view = compute_features(path, backbone, bars, allow_outside=allow_outside)
        checked = _with_moved(checked, listing, view)
        found = check_labels_by_features(view)
        found = replace(found, notes=(*found.notes, *view.warnings))
    else:
        found = _trained(path, size, backbone, bars, allow_outside)
    label = {
        each.name: joined_labels(listing.class_names[one] for one in each.classes)
        for each in listing.pictures
    }
    settled_findings = [
        settled(finding, label, found.likely) if finding.kind == TWO_CLASSES else finding
        for finding in checked.findings
    ]
    return replace(
        checked,
        findings=(*settled_findings, *([found.finding] if found.finding else [])),
        notes=(*checked.notes, *found.notes),
        thumbnails={**checked.thumbnails, **found.thumbnails},
    )


def _with_moved(checked: DataCheck, listing: Listing, view: FeatureView) -> DataCheck:
    """Add cropped or rotated copies that were not reported yet."""
    assert view.data.names is not None, "your own pictures have names"
    number = {picture.name: at for at, picture in enumerate(listing.pictures)}
    told = {
        tuple(sorted(number[name] for name in group))
        for finding in checked.findings
        for group in finding.groups
        if len(group) == 2
    }
    names = view.data.names
    pairs = {(*sorted((number[names[i]], number[names[j]])),) for i, j in copies_by_features(view)}
    found = moved_found(listing, sorted((i, j) for i, j in pairs - told))
    shown = {name for finding in found for group in finding.groups[:SHOWN] for name in group}
    pixels = {name: view.data.images_NHWC[at] for at, name in enumerate(names) if name in shown}
    findings = sorted((*checked.findings, *found), key=lambda finding: not finding.severe)
    return replace(checked, findings=tuple(findings), thumbnails={**pixels, **checked.thumbnails})


def _trained(
    path: Path, size: int | None, backbone: str, bars: Bars, allow_outside: bool
) -> LabelCheck:
    """Check the labels with networks trained from scratch; also say why features were not used."""
    with bars("judging the labels of") as bar:
        found = check_labels(path, size=size, told=bar, allow_outside=allow_outside)
    way = (
        f"labels: judged by networks trained from scratch, because {backbone} was trained on "
        "photographs and these are drawings or writing"
        if backbone
        else (
            "labels: judged by networks trained from scratch. For photographs, a pretrained "
            "network takes seconds and also finds cropped copies: firstlight backbones fetch "
            f"{next(iter(BACKBONES))}"
        )
    )
    return replace(found, notes=(*found.notes, way))


def write_page(checked: DataCheck, path: Path, out: Path) -> None:
    """Write one self-contained page with the affected pictures."""
    height, width, channels = checked.shape
    page = Page(
        title=f"The pictures of {path.name}",
        lead=(f"{checked.counted}; training would use {checked.shape_reason}"),
        figures={
            "pictures": f"{checked.pictures:,}",
            checked.kinds: f"{len(checked.classes)}",
            "findings": f"{len(checked.findings)}",
            "to leave out": f"{len(checked.exclude):,}",
            "images": f"{width}×{height}, {'grey' if channels == 1 else 'colour'}",
        },
        sections=[
            *(section for finding in checked.findings for section in _sections(finding, checked)),
            Section(
                title=checked.kinds.capitalize(),
                table=Table(
                    head=["label" if checked.several else "class", "pictures"],
                    rows=[[name, f"{count:,}"] for name, count in checked.classes.items()],
                ),
            ),
            *([Section(title="Notes", code="\n".join(checked.notes))] if checked.notes else []),
        ],
        foot="Made by firstlight data check. This page is a single file and loads nothing else.",
    )
    write_asked(out, render(page))


def write_fix_list(checked: DataCheck, out: Path) -> None:
    """Write a CSV of path and reason for ``train --fixes``."""
    rows = [[cell(name), cell(why)] for name, why in sorted(checked.exclude.items())]
    write_asked(out, csv_text([["path", "reason"], *rows]))


def _sections(finding: Finding, checked: DataCheck) -> list[Section]:
    """Return sections with a finding, some of its pictures, and their names, collapsed if there are
    many."""
    shown = finding.groups if finding.suspects else finding.groups[:SHOWN]
    titles = dict[str, str]()
    for one in finding.suspects:  # a picture may have several doubtful labels
        before = f"{titles[one.name]}; " if one.name in titles else ""
        titles[one.name] = f"{before}{one.given} → {one.suggested}"
    tiles = [
        [
            Tile(image_HWC=checked.thumbnails[name], text=name, title=titles.get(name, ""))
            for name in group[:4]
        ]
        for group in shown
        if all(name in checked.thumbnails for name in group[:4])
    ]
    pictures = [Shown(png=contact_sheet(tiles).png(), alt=finding.text)] if tiles else []
    title, text = finding.kind.capitalize(), f"{finding.text[0].upper()}{finding.text[1:]}."
    table = _table(finding)
    if len(finding.groups) <= SHOWN:
        return [Section(title=title, text=text, pictures=pictures, table=table)]
    names = Section(title=f"{title}: all {len(finding.groups):,}", table=table, folded=True)
    return [Section(title=title, text=text, pictures=pictures), names]


def _table(finding: Finding) -> Table | None:
    if not finding.groups:
        return None
    if finding.suspects:
        head = ["picture", "given", "looks like", "probability of what is given"]
        rows = [
            [s.name, s.given, s.suggested, f"{100 * s.probability:.1f} %"] for s in finding.suspects
        ]
    else:
        lines = finding.details or tuple(" · ".join(group) for group in finding.groups)
        head, rows = ["pictures"], [[line] for line in lines]
    if len(rows) > LISTED:
        more = [f"… and {len(rows) - LISTED:,} more", *("" for _ in head[1:])]
        rows = [*rows[:LISTED], more]
    return Table(head=head, rows=rows)
