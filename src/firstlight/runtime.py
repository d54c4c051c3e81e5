"""An exported model, run by onnxruntime without PyTorch.

Axes: N images, H height, W width, C channels, K classes.
"""

import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.checked import class_names
from firstlight.errors import DataError, UserError
from firstlight.evaluate.calibrate import Calibration
from firstlight.evaluate.task import AnyCalibration, Task, task_in
from firstlight.onnx_file import check_graph, read_file
from firstlight.packages import imported
from firstlight.pixels import Preprocess
from firstlight.plain import read_json
from firstlight.threads import usable_threads

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, RunOptions

    from firstlight.evaluate.predict import Images

FORMAT = 1
SUFFIX = ".onnx"
MOST_BYTES = 2 * 1024**3
"""Most bytes of an ONNX file."""
MOST_MEMORY = 2 * 1024**3
"""Most bytes that graphs may use at a time, for all open files of a process together."""
MOST_SECONDS = 30
"""Most seconds that a graph may take for one image when it is opened."""
# As in ``evaluate.predict``: activations stay in the processor's caches. For large images, fewer
# are computed at a time to save memory.
_BATCH, _BATCH_PIXELS = 125, 125 * 64 * 64
_MAKE_ONE = "make one with: firstlight export RUN"


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """An exported model, ready to answer."""

    path: Path
    session: "InferenceSession"
    preprocess: Preprocess
    """The graph's preprocessing, as values."""
    class_names: tuple[str, ...]
    calibration: AnyCalibration | None
    task: Task
    """The kind of answer for an image."""
    card: dict[str, Any]
    """All other metadata in the file: licence, data, metrics, recipe."""

    @property
    def name(self) -> str:
        """Name of the file, without extension."""
        return self.path.stem

    @property
    def threshold(self) -> float:
        """If the best class's probability is below this, the answer is unknown."""
        return self.calibration.threshold if isinstance(self.calibration, Calibration) else 0.0

    @property
    def file(self) -> Path:
        """The exported file."""
        return self.path

    @property
    def saved(self) -> None:
        """Always None: the graph's layers cannot be inspected."""
        return None

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Return calibrated probabilities N×K for N ≥ 1 uint8 images of any one size.

        Raises ``DataError`` if the graph fails, or its output is not probabilities.
        """
        parts = []
        size = images_at_once(self.preprocess.image_shape)
        for start in range(0, len(images_NHWC), size):
            images = np.ascontiguousarray(images_NHWC[start : start + size])
            parts.append(self._answer(images))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _answer(
        self, images_NHWC: npt.NDArray[np.uint8], options: "RunOptions | None" = None
    ) -> npt.NDArray[np.float32]:
        try:
            (found,) = self.session.run(["probabilities"], {"images": images_NHWC}, options)
        except Exception as error:  # onnxruntime's errors have no other common class
            raise DataError(
                f"{self.path}: its graph cannot be run; {_MAKE_ONE} (onnxruntime says: "
                f"{_reason(error)})"
            ) from error
        if found.shape != (len(images_NHWC), len(self.class_names)):
            raise DataError(
                f"{self.path}: {found.shape} probabilities for {len(images_NHWC)} images"
            )
        return self.task.check(found, str(self.path))

    def try_out(self) -> None:
        """Predict a black image. Raises ``DataError`` if that fails or takes too long."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        late = threading.Timer(MOST_SECONDS, lambda: setattr(options, "terminate", True))
        late.daemon = True
        late.start()
        try:
            self._answer(np.zeros((1, *self.preprocess.image_shape), dtype=np.uint8), options)
        except DataError as error:
            if options.terminate:
                raise DataError(
                    f"{self.path}: its graph takes more than {MOST_SECONDS} s for one image; "
                    f"{_MAKE_ONE}"
                ) from error
            raise
        finally:
            late.cancel()


def images_at_once(image_shape: tuple[int, int, int]) -> int:
    """Return how many images of H×W×C to compute together."""
    height, width, _ = image_shape
    return max(1, min(_BATCH, _BATCH_PIXELS // (height * width)))


def is_onnx(path: Path) -> bool:
    """Whether a path names an exported model rather than a run folder."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def open_onnx(path: Path, threads: int | None = None) -> OnnxModel:
    """Open an exported model, computing with ``threads`` threads, by default all.

    Raises ``DataError`` if the file is damaged or not firstlight's, and ``UserError`` if there is
    no file, or onnxruntime is not installed.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: too large for an ONNX file")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {_MAKE_ONE}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return from_bytes(content, path, threads)


def from_bytes(content: bytes, path: Path, threads: int | None = None) -> OnnxModel:
    """Open a model from a file's bytes; ``path`` names it in messages."""
    if not content:
        raise DataError(f"{path}: the file is empty (0 bytes); {_MAKE_ONE}")
    try:
        file = read_file(content)
    except ValueError as error:
        raise DataError(f"{path}: not an ONNX file, or damaged: {error}; {_MAKE_ONE}") from error
    texts = file.metadata
    if not {"format", "class_names", "preprocess"} <= texts.keys():
        raise DataError(
            f"{path}: this ONNX file was not exported by firstlight: it holds no class names and "
            f"no preprocessing; {_MAKE_ONE}"
        )
    try:
        check_graph(file)
        card = {key: read_json(text) for key, text in texts.items()}
        found = card.pop("format")
        if found != FORMAT:
            raise ValueError(f"format {found!r}; this firstlight reads {FORMAT!r}")
        task = task_in(card)
        calibration = task.calibration_of(card.pop("calibration"))
        names = class_names(card.pop("class_names"), f"{path}: its metadata")
        preprocess = Preprocess.from_json(card.pop("preprocess"))
        session = _session(content, path, threads or usable_threads())
        result = session.get_outputs()[0]
        if [i.name for i in session.get_inputs()] != ["images"] or result.name != "probabilities":
            raise ValueError("other inputs or outputs")
        if result.shape[1:] != [len(names)]:
            raise ValueError(f"{len(names)} class names for {result.shape[1:]} probabilities")
        model = OnnxModel(
            path=path,
            session=session,
            preprocess=preprocess,
            class_names=names,
            calibration=calibration,
            task=task,
            card=card,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not in the form that firstlight writes: {error}; {_MAKE_ONE}"
        ) from error
    model.try_out()
    return model


def _session(content: bytes, path: Path, threads: int) -> "InferenceSession":
    onnxruntime = imported("onnxruntime", str(path))
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, and reported in one message
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            # Constant folding would allocate outside the limited memory, and exports have nothing
            # to fold.
            disabled_optimizers=["ConstantFolding"],
            enable_fallback=0,  # a fallback would try the same again, and print a message
        )
    except Exception as error:  # onnxruntime's errors have no other common class
        raise DataError(
            f"{path}: not an ONNX file, or damaged; {_MAKE_ONE} (onnxruntime says: "
            f"{_reason(error)})"
        ) from error


@cache
def _bound_memory() -> None:
    """Set, once per process, the memory limit for sessions with ``session.use_env_allocators``."""
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    # Otherwise onnxruntime's default: it grows in powers of two.
    bounds = onnxruntime.OrtArenaCfg(MOST_MEMORY, 0, -1, -1)
    onnxruntime.create_and_register_allocator(place, bounds)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
