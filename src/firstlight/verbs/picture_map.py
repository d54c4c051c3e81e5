"""A map of the user's own pictures: those that a pretrained network finds similar are close
together.

Axes: N pictures, F features.
"""

from pathlib import Path

import numpy as np

from firstlight.backbones import BACKBONES
from firstlight.data.check import DataCheck
from firstlight.errors import UserError
from firstlight.evaluate.task import task_of
from firstlight.explain.plane import neighbourhoods
from firstlight.files import write_asked
from firstlight.packages import imported
from firstlight.report.map import MOST_NAMED, legend, map_of_pictures
from firstlight.report.page import Page, Section, Shown, Table, render
from firstlight.verbs.feature_view import backbone_here, compute_features

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
    view = compute_features(path, need_backbone(), allow_outside=allow_outside, quiet=quiet)
    data = view.data
    task_of(data.several).require_one("maps", "Leave out --map")
    assert data.names is not None, "your own pictures have names"
    suspects = {s.name: s for finding in checked.findings for s in finding.suspects}
    marked_N = np.array([name in suspects for name in data.names])
    some = np.union1d(
        np.arange(min(len(data), MOST)) * len(data) // min(len(data), MOST),
        np.flatnonzero(marked_N),
    )
    places_N2 = neighbourhoods(view.features_NF[some])
    drawn = map_of_pictures(
        [data.images_NHWC[int(at)][::2, ::2] for at in some],
        places_N2,
        data.labels_N[some],
        len(data.class_names),
        marked_N[some],
    )
    part = f"{len(some):,} of {len(data):,}" if len(some) < len(data) else f"all {len(data):,}"
    marks = "; a black outline marks a doubtful label (--labels)" if suspects else ""
    unnamed = ". There are too many classes for a colour legend" * (
        len(data.class_names) > MOST_NAMED
    )
    rows = [[s.name, s.given, s.suggested] for s in list(suspects.values())[:_LISTED]]
    more = len(suspects) - len(rows)
    rows += [[f"… and {more:,} more", "", ""]] if more else []
    page = Page(
        title=f"A map of {path.name}",
        lead=(
            f"{part[0].upper()}{part[1:]} pictures. Pictures that {view.backbone} finds similar "
            "are close together"
        ),
        figures={"pictures": f"{len(data):,}", "classes": f"{len(data.class_names)}"}
        | ({"suspects": f"{len(suspects):,}"} if suspects else {}),
        sections=[
            Section(
                title="The map",
                text=(
                    f"The features of {view.backbone} in two dimensions, by t-SNE. Points that "
                    "are close together are similar; large distances mean little. The colour of "
                    f"a frame shows the class{marks}. Look at pictures that lie among another "
                    f"class{unnamed}."
                ),
                legend=legend(data.class_names),
                pictures=[
                    Shown(
                        png=drawn.png(),
                        alt="The pictures, with similar ones close together",
                        wide=True,
                    )
                ],
            ),
            *(
                [
                    Section(
                        title="Suspects",
                        table=Table(head=["picture", "class", "looks like"], rows=rows),
                    )
                ]
                if rows
                else []
            ),
        ],
        foot="Made by firstlight data check. This page is a single file and loads nothing else.",
    )
    write_asked(out, render(page))
