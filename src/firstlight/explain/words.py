"""What each picture of an explanation shows, and what it cannot show, in one sentence each."""

from dataclasses import dataclass

from firstlight.explain.attention import ClassAttention
from firstlight.explain.attribution import GradCam, Integrated, Occluded
from firstlight.pixels import Preprocess


@dataclass(frozen=True, kw_only=True)
class Words:
    """What stands beside a picture."""

    title: str
    shows: str
    cannot: str

    @property
    def text(self) -> str:
        """Both sentences."""
        return f"{self.shows} {self.cannot}"


def of_picture(preprocess: Preprocess) -> Words:
    """The image itself."""
    return Words(
        title="What it saw",
        shows=f"All that reached the network: {preprocess.width}×{preprocess.height} pixels"
        f"{', grey' if preprocess.channels == 1 else ''}.",
        cannot="What only a larger picture would show, it cannot know.",
    )


def of_answer() -> Words:
    """The probabilities."""
    return Words(
        title="What it answered",
        shows="The probability of each class.",
        cannot="They share 100 % even where the picture is of something else altogether.",
    )


def of_grad_cam(cam: GradCam, name: str) -> Words:
    """Grad-CAM for the class ``name``."""
    height, width = cam.cells
    if not height:
        return Words(
            title="Grad-CAM",
            shows="Left out: this network has no maps, or self-attention mixes their places, so "
            "it has no regions either.",
            cannot="Integrated gradients and occlusion need none.",
        )
    if not cam.values_HW.any():
        return Words(
            title="Grad-CAM",
            shows=f"No region speaks for {name}: its Grad-CAM is zero everywhere.",
            cannot="It leaves out what speaks against a class.",
        )
    return Words(
        title="Grad-CAM",
        shows=f"Regions that speak for {name}, from maps of {width}×{height} cells.",
        cannot="It cannot show single lines or edges, and leaves out what speaks against.",
    )


def of_attention(attention: ClassAttention) -> Words:
    """Where the class token looks."""
    height, width = attention.cells
    heads = len(attention.heads_hHW)
    return Words(
        title="Attention",
        shows=f"Where the class token of the last block looks, on {width}×{height} patches: the "
        + (f"mean of {heads} heads." if heads > 1 else "share of each."),
        cannot="It is the same for every class, and tells what is looked at, and not what is made "
        "of it.",
    )


def of_heads() -> Words:
    """Where each head looks."""
    return Words(
        title="Attention, head by head",
        shows="Each head of the last block has its own shares. What one head leaves out, another "
        "may look at.",
        cannot="Red is more of the class token's attention.",
    )


def of_integrated(result: Integrated, name: str, preprocess: Preprocess) -> Words:
    """Integrated gradients for the class ``name``."""
    empty = "black" if preprocess.light_on_dark else "the picture's mean colour"
    return Words(
        title="Integrated gradients",
        shows=f"What each pixel adds to the score of {name} (red) or takes from it (blue), "
        f"compared with an image all {empty}. Together they make up the difference between the two "
        f"scores, to within {missed(result)}.",
        cannot=f"Pixels that are {empty} already get nothing, however telling; single specks mean "
        "little.",
    )


def missed(result: Integrated) -> str:
    """The gap of integrated gradients in percent, never less than 0.01 %; kept on one line."""
    percent = max(100 * result.gap, 0.01)
    number = f"{percent:.2g}" if percent < 99 else f"{percent:,.0f}"
    return f"{number}\N{NO-BREAK SPACE}%"


def of_occlusion(result: Occluded, name: str, preprocess: Preprocess) -> Words:
    """Occlusion for the class ``name``."""
    cover = "black" if preprocess.light_on_dark else "the picture's mean colour"
    return Words(
        title="Occlusion",
        shows=f"How far the score of {name} falls (red) or rises (blue) when {result.patch}×"
        f"{result.patch} pixels are covered with {cover}.",
        cannot="It misses parts that can stand in for each other, and a covered picture is like "
        "none it was trained on.",
    )


def of_neighbours(images: int) -> Words:
    """The nearest of so many training images."""
    return Words(
        title="Nearest training images",
        shows=f"Of {images:,} training images, those that the network takes to be most alike, with "
        "the cosine of their features (1: the same).",
        cannot="They need not look alike to you, and did not by themselves cause the answer.",
    )


def of_missing_neighbours() -> Words:
    """In place of the nearest images, where there are no training images."""
    return Words(
        title="Nearest training images",
        shows="Left out: the run's training images are not to be found.",
        cannot="Everything else needs the trained network alone.",
    )


def of_layers(shown: int, layers: int, rest: str) -> Words:
    """The maps of all layers, or of so many of them; ``rest`` says where the others are."""
    return Words(
        title="Layer by layer",
        shows="What each layer makes of the picture, from the first to the scores of the classes."
        + (f" {chosen(shown, layers)} {rest}" if shown < layers else ""),
        cannot="A strong map says that something was found, not that the answer rests on it.",
    )


def chosen(shown: int, layers: int) -> str:
    """Which layers of a long network are shown."""
    return (
        f"Of {layers} layers, these {shown}: the first, the last of each size of maps, and those "
        "at the end that give single numbers."
    )
