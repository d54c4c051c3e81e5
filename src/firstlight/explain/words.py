"""Captions of an explanation's pictures: what each shows, and what it cannot show."""

from dataclasses import dataclass

from firstlight.explain.activity import SATURATED
from firstlight.explain.attention import ClassAttention
from firstlight.explain.attribution import GradCam, Integrated, Occluded
from firstlight.pixels import Preprocess


@dataclass(frozen=True, kw_only=True)
class Words:
    """The caption of a picture."""

    title: str
    shows: str
    cannot: str

    @property
    def text(self) -> str:
        """Both sentences."""
        return f"{self.shows} {self.cannot}"


def of_picture(preprocess: Preprocess) -> Words:
    """Caption of the image itself."""
    return Words(
        title="What it saw",
        shows=(
            f"The network's input: {preprocess.width}×{preprocess.height} "
            f"pixels{', grey' if preprocess.channels == 1 else ''}."
        ),
        cannot="It cannot see details that only a larger picture would show.",
    )


def of_answer(*, several: bool) -> Words:
    """The probabilities, of one class each or of several labels."""
    if several:
        return Words(
            title="What it answered",
            shows="The probability of each label.",
            cannot="They do not add up to 100 %: each label is judged by itself.",
        )
    return Words(
        title="What it answered",
        shows="The probability of each class.",
        cannot="They add up to 100 % even if the picture shows something else entirely.",
    )


def of_grad_cam(cam: GradCam, name: str) -> Words:
    """Caption of Grad-CAM for the class ``name``."""
    height, width = cam.cells
    if not height:
        return Words(
            title="Grad-CAM",
            shows=(
                "Left out: this network has no feature maps, or self-attention mixes their "
                "positions, so there are no regions to show."
            ),
            cannot="Integrated gradients and occlusion do not need them.",
        )
    if not cam.values_HW.any():
        return Words(
            title="Grad-CAM",
            shows=f"No region is evidence for {name}: its Grad-CAM is zero everywhere.",
            cannot="It does not show evidence against a class.",
        )
    return Words(
        title="Grad-CAM",
        shows=f"Regions that are evidence for {name}, from feature maps of {width}×{height} cells.",
        cannot=(
            "It cannot show single lines or edges, and does not show evidence against the class."
        ),
    )


def of_attention(attention: ClassAttention) -> Words:
    """Caption of the class token's attention."""
    height, width = attention.cells
    heads = len(attention.heads_hHW)
    return Words(
        title="Attention",
        shows=f"Where the class token of the last block looks, on {width}×{height} patches: the "
        + (f"mean of {heads} heads." if heads > 1 else "share of each."),
        cannot=(
            "It is the same for every class. It shows where the network looks, not what it "
            "concludes."
        ),
    )


def of_heads() -> Words:
    """Caption of the attention of each head."""
    return Words(
        title="Attention, head by head",
        shows=(
            "Each head of the last block has its own attention. One head may look at what "
            "another ignores."
        ),
        cannot="Red means more attention from the class token.",
    )


def of_integrated(result: Integrated, name: str, preprocess: Preprocess) -> Words:
    """Caption of integrated gradients for the class ``name``."""
    empty = "black" if preprocess.light_on_dark else "the picture's mean colour"
    return Words(
        title="Integrated gradients",
        shows=(
            f"How much each pixel raises (red) or lowers (blue) the score of {name}, compared "
            f"with an image that is all {empty}. Together they add up to the difference between "
            f"the two scores, to within {missed(result)}."
        ),
        cannot=(
            f"Pixels that are already {empty} get nothing, even if they matter. Single specks "
            "mean little."
        ),
    )


def missed(result: Integrated) -> str:
    """The error of integrated gradients in percent, at least 0.01 %; without a line break."""
    percent = max(100 * result.gap, 0.01)
    number = f"{percent:.2g}" if percent < 99 else f"{percent:,.0f}"
    return f"{number}\N{NO-BREAK SPACE}%"


def of_occlusion(result: Occluded, name: str, preprocess: Preprocess) -> Words:
    """Caption of occlusion for the class ``name``."""
    cover = "black" if preprocess.light_on_dark else "the picture's mean colour"
    return Words(
        title="Occlusion",
        shows=f"How far the score of {name} falls (red) or rises (blue) when {result.patch}×"
        f"{result.patch} pixels are covered with {cover}.",
        cannot=(
            "It misses parts that can replace each other, and the network was never trained on "
            "covered pictures."
        ),
    )


def of_neighbours(images: int) -> Words:
    """Caption of the nearest among ``images`` training images."""
    return Words(
        title="Nearest training images",
        shows=(
            f"Of {images:,} training images, the ones that look most similar to the network, "
            "with the cosine similarity of their features (1: identical)."
        ),
        cannot="They may not look similar to you, and they did not cause the answer on their own.",
    )


def of_missing_neighbours() -> Words:
    """Caption in place of the nearest images if there are no training images."""
    return Words(
        title="Nearest training images",
        shows="Left out: the run's training images were not found.",
        cannot="Everything else needs only the trained network.",
    )


def of_switched_off() -> Words:
    """Caption of the answer with one map set to zero."""
    return Words(
        title="Switched off",
        shows=(
            "The answer with this map set to zero, beside the answer with it (Morcos et al. 2018)."
        ),
        cannot=(
            "An answer that stays does not mean that the map is useless: others may do the same "
            "work. The network was never trained without it."
        ),
    )


def of_exciting(images: int) -> Words:
    """Caption of the most exciting ones of ``images`` test images."""
    return Words(
        title="What excites it most",
        shows=(
            f"Of {images:,} test images, those with the largest value in this map. The frame holds "
            "the pixels that change that value (Zeiler and Fergus 2014)."
        ),
        cannot=(
            "What they have in common is for you to judge, and the answer may not depend on it."
        ),
    )


def of_activity(images: int, *, squeezed: bool) -> Words:
    """Caption of the dead maps over ``images`` test images; ``squeezed`` if a layer is a sigmoid or
    tanh."""
    saturated = (
        "A sigmoid or tanh is saturated where it is within "
        f"{percent(SATURATED)} of an end of its range: almost no gradient passes there (Glorot and "
        "Bengio 2010). "
    )
    return Words(
        title="Dead and saturated maps",
        shows=(
            "Each bar is the share of a map's numbers that are not above zero, over "
            f"{images:,} test images. A map that is never above zero is dead (Lu et al. 2019)."
        ),
        cannot=(saturated if squeezed else "")
        + (
            "A high share is no fault: what a map looks for may be rare. Other images may wake a "
            "dead map."
        ),
    )


def of_components(images: int, share: float) -> Words:
    """Caption of the first two principal components, which hold this share of the variance."""
    return Words(
        title="Principal components",
        shows=(
            f"The features of {images:,} test images, the input of the last layer, along the two "
            "directions in which they vary most (Pearson 1901)."
        ),
        cannot=(
            f"These hold {percent(share)} of the variance: images that lie together here may be "
            "far apart in the other directions."
        ),
    )


def of_neighbourhoods(images: int) -> Words:
    """Caption of t-SNE."""
    return Words(
        title="t-SNE",
        shows=(
            f"The features of {images:,} test images, the input of the last layer: those that are "
            "similar lie close together (van der Maaten and Hinton 2008)."
        ),
        cannot="The size of a group and the distance between groups mean little.",
    )


def percent(share: float) -> str:
    """Return a share as whole percent, without a line break."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def of_layers(shown: int, layers: int, rest: str) -> Words:
    """Caption of the maps of all layers, or of ``shown`` of them; ``rest`` says where the others
    are."""
    return Words(
        title="Layer by layer",
        shows=(
            "The output of each layer for this picture, from the first to the scores of the "
            "classes (logits)."
        )
        + (f" {chosen(shown, layers)} {rest}" if shown < layers else ""),
        cannot="A strong map means that something was found, not that the answer depends on it.",
    )


def chosen(shown: int, layers: int) -> str:
    """Say which layers of a long network are shown."""
    return (
        f"{shown} of {layers} layers are shown: the first, the last of each map size, and those "
        "at the end that give single numbers."
    )
