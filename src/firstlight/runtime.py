"""An exported model, opened by onnxruntime; PyTorch is not needed.

Axes: N images, H height, W width, C channels, K classes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.errors import DataError, UserError
from firstlight.evaluate.calibrate import Calibration
from firstlight.pixels import Preprocess
from firstlight.threads import usable_threads

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from firstlight.evaluate.predict import Images

FORMAT = 1
SUFFIX = ".onnx"
MOST_BYTES = 2 * 1024**3
"""What one ONNX file can hold."""
# As in ``evaluate.predict``: activations stay in the processor's caches.
_BATCH = 125
_MAKE_ONE = "make one with: firstlight export RUN"


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """What ``firstlight export`` wrote, ready to answer."""

    path: Path
    session: "InferenceSession"
    preprocess: Preprocess
    """What is in the graph, as values."""
    class_names: tuple[str, ...]
    calibration: Calibration | None
    card: dict[str, Any]
    """All else that the file says of itself: licence, data, metrics, recipe."""

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return self.path.stem

    @property
    def threshold(self) -> float:
        """Below this probability of the best class, an answer is unknown."""
        return 0.0 if self.calibration is None else self.calibration.threshold

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Calibrated probabilities N×K of N ≥ 1 uint8 images of any one size."""
        parts = []
        for start in range(0, len(images_NHWC), _BATCH):
            images = np.ascontiguousarray(images_NHWC[start : start + _BATCH])
            parts.append(self.session.run(["probabilities"], {"images": images})[0])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def is_onnx(path: Path) -> bool:
    """Whether a path names an exported model and not a run folder."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def open_onnx(path: Path) -> OnnxModel:
    """An exported model. Raises ``DataError`` where the file is damaged or of another maker, and
    ``UserError`` where there is none, or no onnxruntime."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: too large for an ONNX file")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {_MAKE_ONE}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return from_bytes(content, path)


def from_bytes(content: bytes, path: Path, threads: int | None = None) -> OnnxModel:
    """The model of a file's bytes; ``path`` names it in messages."""
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes); {_MAKE_ONE}")
    session = _session(content, path, threads or usable_threads())
    texts = session.get_modelmeta().custom_metadata_map
    if not {"format", "class_names", "preprocess"} <= texts.keys():
        raise DataError(
            f"{path}: an ONNX file of another maker, which does not say what its classes are "
            f"called nor how pictures are prepared; {_MAKE_ONE}"
        )
    try:
        card = {key: json.loads(text) for key, text in texts.items()}
        found = card.pop("format")
        if found != FORMAT:
            raise ValueError(f"of format {found!r}, and this firstlight reads {FORMAT!r}")
        calibration = card.pop("calibration")
        names = tuple(card.pop("class_names"))
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("class names that are no text")
        preprocess = Preprocess.from_json(card.pop("preprocess"))
        result = session.get_outputs()[0]
        if [i.name for i in session.get_inputs()] != ["images"] or result.name != "probabilities":
            raise ValueError("other inputs or outputs")
        if result.shape[1:] != [len(names)]:
            raise ValueError(f"{len(names)} class names for {result.shape[1:]} probabilities")
        return OnnxModel(
            path=path,
            session=session,
            preprocess=preprocess,
            class_names=names,
            calibration=None if calibration is None else Calibration(**calibration),
            card=card,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not as this firstlight writes it: {error}; {_MAKE_ONE}"
        ) from error


def _session(content: bytes, path: Path, threads: int) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{path}: needs onnxruntime; install it with: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # its warnings are about the graph, not for who asks it
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common class but this
        reason = str(error).splitlines()[0][:200]
        raise DataError(
            f"{path}: no ONNX file, or damaged; {_MAKE_ONE} (onnxruntime says: {reason})"
        ) from error
