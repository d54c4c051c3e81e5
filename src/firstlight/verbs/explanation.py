"""An explanation as a value, as a sheet of figures, and as a page with every layer.

Axes: N images, H height, W width, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import TrainTest
from firstlight.evaluate.prediction import Prediction
from firstlight.explain import words
from firstlight.explain.attention import ClassAttention
from firstlight.explain.attribution import GradCam, Integrated, Occluded
from firstlight.explain.layers import LayerMaps, shown
from firstlight.explain.neighbours import Neighbour
from firstlight.model import RunModel
from firstlight.pixels import Preprocess
from firstlight.report import explanation as draw
from firstlight.report.page import Page, Section, Shown, Table
from firstlight.untrusted import shell_word


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """The explanation of one answer as numbers, and the files with its figures."""

    prediction: Prediction
    class_name: str
    """The class whose score is explained."""
    truth: str | None
    """The true class of a test image."""
    grad_cam: GradCam
    attention: ClassAttention | None
    """For a vision transformer, where Grad-CAM has no maps."""
    integrated_gradients: Integrated
    occlusion: Occluded
    layers: tuple[LayerMaps, ...]
    """Every layer's maps for the image, in the order of computation."""
    nearest: tuple[Neighbour, ...]
    """Indices of training images, most similar first; empty if they cannot be found."""
    missing: str
    """Why there are no training images to compare; empty if there are."""
    sheet: Path
    """The PNG file."""
    page: Path
    """The HTML file."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without arrays."""
        integrated = self.integrated_gradients
        return {
            **self.prediction.to_json(),
            "class": self.class_name,
            "truth": self.truth,
            "grad_cam": {"cells": self.grad_cam.cells},
            "attention": self.attention
            and {"heads": len(self.attention.heads_hHW), "cells": self.attention.cells},
            "integrated_gradients": {
                "difference": integrated.difference,
                "gap": integrated.gap,
                "steps": integrated.steps,
            },
            "occlusion": {"patch": self.occlusion.patch},
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "says": layer.says,
                    "shape": layer.maps_Chw.shape,
                }
                for layer in self.layers
            ],
            "nearest": [{"index": n.index, "similarity": n.similarity} for n in self.nearest],
            "sheet": str(self.sheet),
            "page": str(self.page),
        }

    def _repr_png_(self) -> bytes:
        return self.sheet.read_bytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """One figure of the sheet and the page."""

    words: words.Words
    drawing: draw.Drawing
    alt: str

    def shown(self) -> Shown:
        """Return the figure for the page, with its caption below it."""
        png = draw.single(self.drawing, self.words.title).png()
        return Shown(png=png, alt=self.alt, caption=self.words.text)


def panels(result: Explanation, preprocess: Preprocess, found: TrainTest | None) -> list[Panel]:
    """Return the panels: picture, answer, three attributions, nearest images."""
    answer, name = result.prediction, result.class_name
    image_HWC = answer.image_HWC
    assert image_HWC is not None and answer.confidence is not None
    integrated, covered = result.integrated_gradients, result.occlusion
    dark = preprocess.light_on_dark
    return [
        Panel(
            words=words.of_picture(preprocess),
            drawing=draw.seen(image_HWC),
            alt=f"The image {answer.name} as the network was given it",
        ),
        Panel(
            words=words.of_answer(several=answer.labels is not None),
            drawing=draw.answers(answer.probabilities, name),
            alt=f"Probabilities; the highest is {answer.best} with {100 * answer.confidence:.1f} %",
        ),
        _regions_panel(result, image_HWC, dark=dark),
        Panel(
            words=words.of_integrated(integrated, name, preprocess),
            drawing=draw.overlaid(image_HWC, integrated.values_HW, dark=dark),
            alt=f"Integrated gradients for {name}, strongest {_place(integrated.values_HW)}",
        ),
        Panel(
            words=words.of_occlusion(covered, name, preprocess),
            drawing=draw.overlaid(image_HWC, covered.values_HW, dark=dark),
            alt=f"Occlusion for {name}, strongest {_place(covered.values_HW)}",
        ),
        _nearest_panel(result, found),
    ]


def _regions_panel(result: Explanation, image_HWC: npt.NDArray[np.uint8], *, dark: bool) -> Panel:
    """Return Grad-CAM or, for a vision transformer, its attention."""
    cam, attention, name = result.grad_cam, result.attention, result.class_name
    if attention is None:
        said, values_HW = words.of_grad_cam(cam, name), cam.values_HW
        alt = f"Grad-CAM for {name}"
    else:
        said, values_HW = words.of_attention(attention), attention.over(*image_HWC.shape[:2])
        alt = "Attention of the class token"
    return Panel(
        words=said,
        drawing=draw.overlaid(image_HWC, values_HW, dark=dark, smooth=True),
        alt=f"{alt}, strongest {_place(values_HW)}",
    )


def _nearest_panel(result: Explanation, found: TrainTest | None) -> Panel:
    if found is None:
        return Panel(
            words=words.of_missing_neighbours(),
            drawing=draw.note("left out: the training\nimages were not found"),
            alt=f"No picture: {result.missing}",
        )
    train = found.train
    indices = [neighbour.index for neighbour in result.nearest]
    names = [train.label_of(i) for i in indices]
    similarities = [neighbour.similarity for neighbour in result.nearest]
    return Panel(
        words=words.of_neighbours(len(train)),
        drawing=draw.alike(train.images_NHWC[np.array(indices)], names, similarities),
        alt=f"{len(indices)} training images: {', '.join(names)}",
    )


def page(model: RunModel, result: Explanation, panels: list[Panel]) -> Page:
    answer = result.prediction
    picture, answered, *attributions, alike = (panel.shown() for panel in panels)
    lead = f"the run {model.folder.name} answers {answer.answer}"
    if answer.notes:
        lead += f"; the picture was changed: {', '.join(answer.notes)}"
    numbers = shown(result.layers)
    rest = f"firstlight serve {shell_word(model.folder)} shows them all."
    layers = words.of_layers(len(numbers), len(result.layers), rest)
    return Page(
        title=f"{answer.name}: evidence for {result.class_name}",
        lead=lead,
        figures=_figures(result),
        sections=[
            Section(
                title="The picture, the answer and similar pictures",
                pictures=[picture, answered, alike],
                code=result.missing,
            ),
            Section(title=f"Evidence for {result.class_name}", pictures=attributions),
            *_heads(result.attention),
            Section(title=layers.title, text=layers.text),
            *_layer_sections(result.layers, numbers, model.class_names, several=model.task.several),
            _numbers(result),
        ],
        foot="Made by firstlight explain. This page is a single file and loads nothing else.",
    )


def _heads(attention: ClassAttention | None) -> list[Section]:
    """Show the attention of each head, for a vision transformer with several."""
    if attention is None or len(attention.heads_hHW) == 1:
        return []
    said, heads_hHW = words.of_heads(), attention.heads_hHW
    maps = LayerMaps(name="attention", kind="", says="", maps_Chw=heads_hHW)
    alt = f"Attention of the class token in each of {len(heads_hHW)} heads"
    picture = Shown(png=draw.layer(maps).png(), alt=alt)
    return [Section(title=said.title, text=said.text, pictures=[picture])]


def _figures(result: Explanation) -> dict[str, str]:
    answer = result.prediction
    assert answer.answer is not None and answer.confidence is not None
    figures = {"answer": answer.answer}
    if answer.labels is None and answer.best != answer.answer:
        figures["most probable"] = str(answer.best)
    if answer.labels is None:
        figures["its probability"] = f"{100 * answer.confidence:.2f} %"
    else:
        shares = [f"{one}: {100 * answer.probabilities[one]:.2f} %" for one in answer.labels]
        figures["probabilities"] = ", ".join(shares) or "-"
    if result.truth is not None:
        figures["truth"] = result.truth
    if answer.labels is not None or result.class_name != answer.best:
        figures["explained class"] = result.class_name
    return figures


def _layer_sections(
    layers: Sequence[LayerMaps],
    numbers: Sequence[int],
    class_names: Sequence[str],
    *,
    several: bool,
) -> list[Section]:
    sections = []
    for at in numbers:
        layer, number = layers[at], at + 1
        count, height, width = layer.maps_Chw.shape
        is_last = number == len(layers)
        what = f"{count} numbers" if layer.is_single_numbers else f"{count} maps, {width}×{height}"
        text = layer.says
        if is_last:
            text += (
                " The last of these layers gives each label a score (logit), and a label with a "
                "high one is given."
                if several
                else " The last of these layers gives each class a score (logit). The highest "
                "score is the answer."
            )
        if count > draw.MOST_MAPS and not layer.is_single_numbers:
            text += f" The first {draw.MOST_MAPS} of {count} maps:"
        png = draw.layer(layer, class_names if is_last else ()).png()
        title = f"{number}. {layer.kind[0].upper()}{layer.kind[1:]}: {what}"
        alt = f"Layer {layer.name}: {what}"
        sections.append(Section(title=title, text=text.strip(), pictures=[Shown(png=png, alt=alt)]))
    return sections


def _numbers(result: Explanation) -> Section:
    integrated = result.integrated_gradients
    height, width = result.grad_cam.cells
    rows = [
        ["Grad-CAM (Selvaraju et al. 2017)", "maps", f"{width}×{height}" if height else "none"],
        *_attention_rows(result.attention),
        [
            "Integrated gradients (Sundararajan et al. 2017)",
            "score above that of the empty image",
            f"{integrated.difference:.4g}",
        ],
        ["", "share of it that the sum may miss", words.missed(integrated)],
        ["", "steps", f"{integrated.steps}"],
        ["Occlusion (Zeiler and Fergus 2014)", "patch", f"{result.occlusion.patch} pixels"],
    ]
    return Section(title="In numbers", table=Table(head=["method", "what", ""], rows=rows))


def _attention_rows(attention: ClassAttention | None) -> list[list[str]]:
    if attention is None:
        return []
    height, width = attention.cells
    return [
        ["Attention (Caron et al. 2021)", "patches", f"{width}×{height}"],
        ["", "heads", f"{len(attention.heads_hHW)}"],
    ]


def _place(values_HW: npt.NDArray[np.float32]) -> str:
    """Describe the position of the largest value."""
    if not values_HW.any():
        return "nowhere (zero everywhere)"
    height, width = values_HW.shape
    row, column = divmod(int(values_HW.argmax()), width)
    across = ("left", "in the middle", "right")[3 * column // width]
    return f"{('at the top', 'at half height', 'at the bottom')[3 * row // height]}, {across}"
