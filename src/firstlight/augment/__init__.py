"""Random changes of training images, drawn again for each epoch. Each is a value without PyTorch.

``AUGMENTATIONS`` is the one table of them: it maps the name in a recipe to the class. To add an
augmentation, write its class and add one line to the table.
"""

from firstlight.augment.augmentation import Augmentation
from firstlight.augment.colour import Blur, Brightness, Contrast, Noise
from firstlight.augment.erase import Cutout, Erase
from firstlight.augment.geometry import Crop, Flip, Rotate, Scale, Shear, Shift
from firstlight.augment.mixing import CutMix, MixUp

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Blur",
    "Brightness",
    "Contrast",
    "Crop",
    "CutMix",
    "Cutout",
    "Erase",
    "Flip",
    "MixUp",
    "Noise",
    "Rotate",
    "Scale",
    "Shear",
    "Shift",
]

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    one.kind: one
    for one in (
        Rotate,
        Shift,
        Scale,
        Shear,
        Flip,
        Crop,
        Cutout,
        Erase,
        Brightness,
        Contrast,
        Noise,
        Blur,
        MixUp,
        CutMix,
    )
}
