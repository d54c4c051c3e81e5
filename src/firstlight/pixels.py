"""Preprocessing: the only code that turns an image into model input.

Training, evaluation, prediction and every export use ``Preprocess``, which is saved with the
weights. Only computing imports PyTorch: a program that runs an exported graph reads only the
values. Axes: N images, C channels, H height, W width.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


MOST_SIDE = 4096
"""Largest height or width in pixels of a model's images."""
# Limits that keep float32 division and subtraction within its range.
_LEAST_STD, _MOST = 1e-30, 1e30


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Converts uint8 images to a network's input: ``(pixel / 255 - mean) / std``."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    channels: int
    """1 (grey) or 3 (red, green, blue)."""
    mean: tuple[float, ...]
    """Subtracted from each channel after scaling to [0, 1]; one number per channel."""
    std: tuple[float, ...]
    """Divisor of each channel; one positive number per channel."""
    light_on_dark: bool = False
    """Whether the training images are light strokes on a dark background, as in MNIST."""
    centred_strokes: bool = False
    """Whether the training images are single strokes, scaled and centred as in MNIST."""

    def __post_init__(self) -> None:
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in self.image_shape):
            raise ValueError(f"image sides must be whole numbers, got {self.image_shape}")
        if self.height < 1 or self.width < 1 or self.channels not in (1, 3):
            raise ValueError(f"an image cannot be {self.height}×{self.width}×{self.channels}")
        if max(self.height, self.width) > MOST_SIDE:
            raise ValueError(
                f"images of {self.height}×{self.width} pixels; at most {MOST_SIDE} per side"
            )
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"mean and std need {self.channels} numbers each")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(isinstance(v, int | float) and abs(v) < _MOST for v in values):
                raise ValueError(f"{name} must be finite numbers, not {values}")
        if any(s < _LEAST_STD for s in self.std):
            raise ValueError(f"std must be positive, not {self.std}")
        if not all(isinstance(v, bool) for v in (self.light_on_dark, self.centred_strokes)):
            raise ValueError("light_on_dark and centred_strokes must be true or false")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of accepted images."""
        return self.height, self.width, self.channels

    def __call__(self, images_NHWC: "Tensor") -> "Tensor":
        """Return float32 N×C×H×W in channels-last memory, given uint8 N×H×W×C.

        Raises ``ValueError`` for another dtype or shape.
        """
        import torch

        if images_NHWC.dtype != torch.uint8 or images_NHWC.shape[1:] != self.image_shape:
            raise ValueError(
                f"wanted uint8 images N×{self.height}×{self.width}×{self.channels}, "
                f"got {images_NHWC.dtype} {tuple(images_NHWC.shape)}"
            )
        # Make it contiguous even if the images are a rotated view: rows are changed in place.
        block = torch.contiguous_format
        pixels_NHWC = images_NHWC.to(torch.float32, memory_format=block).div_(255)
        if self.mean != (0.0,) * self.channels or self.std != (1.0,) * self.channels:
            # Whole rows at once: repeating a few numbers takes five times as long.
            rows_NHR = pixels_NHWC.flatten(2)
            rows_NHR -= _on(images_NHWC.device, self.mean * self.width)
            rows_NHR /= _on(images_NHWC.device, self.std * self.width)
        return pixels_NHWC.permute(0, 3, 1, 2)

    def to_json(self) -> dict[str, object]:
        """Return plain values for the metadata of a weights file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> "Preprocess":
        """Inverse of ``to_json``. Raises ``ValueError`` for missing or unknown fields."""
        try:
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fields)  # type: ignore[arg-type]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not saved preprocessing: {error}") from error


@lru_cache(maxsize=64)
def _on(device: "torch.device", values: tuple[float, ...]) -> "Tensor":
    """Copy float32 numbers to the device only once: a copy per batch would make a GPU wait."""
    import torch

    return torch.tensor(values, dtype=torch.float32, device=device)
