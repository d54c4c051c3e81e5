"""An exported model, opened by onnxruntime; PyTorch is not needed.

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
"""What one ONNX file can hold."""
MOST_MEMORY = 2 * 1024**3
"""Bytes that graphs may hold at a time, all opened files of a process together."""
MOST_SECONDS = 30
"""That a graph may take for one image when it is opened."""
# As in ``evaluate.predict``: activations stay in the processor's caches. Of large images fewer are
# taken at a time, for memory.
_BATCH, _BATCH_PIXELS = 125, 125 * 64 * 64
_MAKE_ONE = "make one with: firstlight export RUN"


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """What ``firstlight export`` wrote, ready to answer."""

    path: Path
    session: "InferenceSession"
    preprocess: Preprocess
    """What is in the graph, as values."""
    class_names: tuple[str, ...]
    calibration: AnyCalibration | None
    task: Task
    """What it answers of an image."""
    card: dict[str, Any]
    """All else that the file says of itself: licence, data, metrics, recipe."""

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return self.path.stem

    @property
    def threshold(self) -> float:
        """Below this probability of the best class, an answer is unknown."""
        return self.calibration.threshold if isinstance(self.calibration, Calibration) else 0.0

    @property
    def file(self) -> Path:
        """The exported file."""
        return self.path

    @property
    def saved(self) -> None:
        """Nothing: its graph cannot be looked into."""
        return None

    def probabilities(self, images_NHWC: "Images") -> npt.NDArray[np.float32]:
        """Calibrated probabilities N×K of N ≥ 1 uint8 images of any one size.

        Raises ``DataError`` where the graph fails, or gives what are no probabilities.
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
        except Exception as error:  # onnxruntime's own have no common class but this
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
        """Answer a black image. Raises ``DataError`` where that fails or takes too long."""
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
    """How many images of H×W×C are best computed together."""
    height, width, _ = image_shape
    return max(1, min(_BATCH, _BATCH_PIXELS // (height * width)))


def is_onnx(path: Path) -> bool:
    """Whether a path names an exported model and not a run folder."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def open_onnx(path: Path, threads: int | None = None) -> OnnxModel:
    """An exported model, which computes with so many threads, or all.

    Raises ``DataError`` where the file is damaged or of another maker, and ``UserError`` where
    there is none, or no onnxruntime."""
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
    """The model of a file's bytes; ``path`` names it in messages."""
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
    options.log_severity_level = 4  # what fails is raised, and told as one message
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            # It would compute outside the bounded memory; exports have nothing left to fold.
            disabled_optimizers=["ConstantFolding"],
            enable_fallback=0,  # else it tries the same again, and prints so
        )
    except Exception as error:  # onnxruntime's own have no common class but this
        raise DataError(
            f"{path}: not an ONNX file, or damaged; {_MAKE_ONE} (onnxruntime says: "
            f"{_reason(error)})"
        ) from error


@cache
def _bound_memory() -> None:
    """Once a process: what sessions with ``session.use_env_allocators`` take their memory from."""
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    # Else as onnxruntime has it: it grows in powers of two.
    bounds = onnxruntime.OrtArenaCfg(MOST_MEMORY, 0, -1, -1)
    onnxruntime.create_and_register_allocator(place, bounds)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
