"""A map of the user's own pictures: those that a pretrained network finds similar are close
together.

Axes: N pictures, F features.
"""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from firstlight.backbones import BACKBONES
from firstlight.data.check import DataCheck
from firstlight.data.dataset import Dataset, Int64Array
from firstlight.data.findings import Suspect
from firstlight.errors import UserError
from firstlight.explain.plane import neighbourhoods
from firstlight.files import write_asked
from firstlight.packages import imported
from firstlight.progress import CountingBar
from firstlight.report.map import MOST_NAMED, legend, map_of_pictures
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.verbs.feature_view import FeatureView, backbone_here, compute_features

MOST = 2000
"""Most pictures on a map. If there are more, every n-th is shown, and every suspect."""
_LISTED = 200


def need_backbone() -> str:
    """Return the backbone for a map. Raises ``UserError`` if none is on this machine, or what
    draws the map is not installed."""
    imported("sklearn.manifold", "--map", "'firstlight[sklearn]'")
    if backbone := backbone_here():
        return backbone
    raise UserError(
        "--map needs a pretrained network, and this machine has none. Get one with: firstlight "
        f"backbones fetch {next(iter(BACKBONES))}"
    )


def write_map(
    path: Path, checked: DataCheck, out: Path, *, allow_outside: bool = False, quiet: bool = False
) -> None:
    """Write one self-contained page with the map; the suspects of ``--labels`` are marked.

    Raises ``UserError`` without a backbone, and ``DataError`` as ``load_own`` does.
    """
    bars = partial(CountingBar, quiet=quiet)
    view = compute_features(path, need_backbone(), bars, allow_outside=allow_outside)
    data = view.data
    listed = [one for finding in checked.findings for one in finding.suspects]
    suspects = {one.name for one in listed}
    numbers_M = _on_map(data, suspects)
    some = len(numbers_M) < len(data)
    part = f"{len(numbers_M):,} of {len(data):,}" if some else f"All {len(data):,}"
    page = Page(
        title=f"A map of {path.name}",
        lead=(f"{part} pictures. Pictures that {view.backbone} finds similar are close together"),
        figures={"pictures": f"{len(data):,}", checked.kinds: f"{len(data.class_names)}"}
        | ({"suspects": f"{len(suspects):,}"} if suspects else {}),
        sections=[_drawn(view, numbers_M, suspects), *_listed(listed)],
        foot="Made by firstlight data check. This page is a single file and loads nothing else.",
    )
    write_asked(out, render(page))


def _on_map(data: Dataset, suspects: Collection[str]) -> Int64Array:
    """Return the numbers of the pictures on the map: every n-th, and every suspect."""
    assert data.names is not None, "your own pictures have names"
    count = min(len(data), MOST)
    marked_N = np.array([name in suspects for name in data.names])
    return np.union1d(np.arange(count) * len(data) // count, np.flatnonzero(marked_N))


def _drawn(view: FeatureView, numbers_M: Int64Array, suspects: Collection[str]) -> Section:
    """Return the map of these pictures."""
    data = view.data
    assert data.names is not None, "your own pictures have names"
    labels_N, names = _coloured(data)
    drawn = map_of_pictures(
        [data.images_NHWC[int(at)][::2, ::2] for at in numbers_M],
        neighbourhoods(view.features_NF[numbers_M]),
        labels_N[numbers_M],
        len(names),
        np.array([data.names[at] in suspects for at in numbers_M]),
    )
    marks = "; a black outline marks a doubtful label (--labels)" if suspects else ""
    kind, kinds = ("labels", "sets of labels") if data.several else ("class", "classes")
    other = "colour" if data.several else "class"
    unnamed = f". There are too many {kinds} for a colour legend" if len(names) > MOST_NAMED else ""
    return Section(
        title="The map",
        text=(
            f"The features of {view.backbone} in two dimensions, by t-SNE. Points that are close "
            "together are similar; large distances mean little. The colour of a frame shows the "
            f"{kind}{marks}. Look at pictures that lie among another {other}{unnamed}."
        ),
        legend=legend(names),
        pictures=[
            Shown(png=drawn.png(), alt="The pictures, with similar ones close together", wide=True)
        ],
    )


def _coloured(data: Dataset) -> tuple[Int64Array, tuple[str, ...]]:
    """Return the number of each picture's colour, and the names: of the classes or, if a picture
    may have several labels, of the sets of labels that occur."""
    if data.labels_NK is None:
        return data.labels_N, data.class_names
    sets = [data.label_of(row) for row in range(len(data))]
    names = sorted(set(sets))
    number = {one: at for at, one in enumerate(names)}
    return np.array([number[one] for one in sets], dtype=np.int64), tuple(names)


def _listed(suspects: Sequence[Suspect]) -> list[Section]:
    """Return the table of suspects, if there are any."""
    rows = [[one.name, one.given, one.suggested] for one in suspects[:_LISTED]]
    if more := len(suspects) - len(rows):
        rows.append([f"… and {more:,} more", "", ""])
    table = Table(head=["picture", "given", "looks like"], rows=rows)
    return [Section(title="Suspects", table=table)] if rows else []
