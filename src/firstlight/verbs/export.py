"""Export a trained run to a file for other programs, after checking that it gives the same answers.

Axes: N images, K classes.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from firstlight import __version__
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset
from firstlight.errors import ThresholdError, UserError
from firstlight.evaluate.label_metrics import SEVERAL
from firstlight.evaluate.paired import Paired, accuracy_difference, paired
from firstlight.evaluate.predict import probabilities
from firstlight.evaluate.task import AnyMetrics
from firstlight.export.parity import Parity, compare, require_equal
from firstlight.files import check_new_folder, check_takes_files, new_folder, write_asked
from firstlight.layers.own_code import OwnCode
from firstlight.model import RunModel, run_model
from firstlight.models.catalog import Architecture
from firstlight.packages import imported
from firstlight.pixels import Preprocess
from firstlight.plain import write_json
from firstlight.runs.checkpoint import SavedModel
from firstlight.runs.folder import RunFolder
from firstlight.runtime import FORMAT, from_bytes, images_at_once
from firstlight.verbs.evaluate import measured
from firstlight.verbs.run_data import Given, data_of_run

Float32Array = npt.NDArray[np.float32]

SUFFIXES = {
    "onnx": ".onnx",
    "safetensors": ".safetensors",
    "torch-export": ".pt2",
    "keras": ".keras",
    "litert": ".tflite",
    "triton": "",
}
"""Maps each format to its file extension. ``triton`` is a folder with any name."""
ONNX = ("onnx", "triton")
"""The formats that hold an ONNX file."""
EIGHT_BITS = (*ONNX, "litert")
"""The formats that can compute in eight bits."""
LARGEST_LOSS = 0.003
"""Largest loss of accuracy, 0 to 1, by int8 without acceptance."""
LEAST_LOST = 2
"""Fewest test images, net, that int8 must lose for a refusal. If one image exceeds
``LARGEST_LOSS``, losing one means nothing: of 100 images, an acceptable loss costs one or more in
26 of 100 tests, and two or more in 4."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The kind of file to write."""

    format: str = "onnx"
    """One of ``SUFFIXES``."""
    opset: int | None = None
    """ONNX opset; None for the default."""
    int8: bool = False
    """Whether it computes with 8-bit integers."""
    accept_loss: bool = False
    """Whether a loss above ``LARGEST_LOSS`` is accepted."""

    def path(self, name: str, out: Path | None) -> Path:
        """Return the path of the export of the run ``name``. Raises ``UserError`` if ``out`` is not
        writable, and ``DataError`` if the storage is full."""
        suffix = SUFFIXES[self.format]
        if out is not None and self.format != "triton" and out.suffix != suffix:
            raise UserError(
                f"--format {self.format}: wanted a name that ends in {suffix}, got {out}"
            )
        path = out or Path(f"{self.named(name)}{suffix or f'-{self.format}'}")
        if not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder; create it first")
        if self.format == "triton":
            check_new_folder(path)
        elif path.is_dir():
            raise UserError(f"{path} cannot be written: it is a folder. Choose another path")
        check_takes_files(path.parent, path)
        return path

    def named(self, name: str) -> str:
        """Return the default name of the export of the run ``name``."""
        return f"{name}-int8" if self.int8 else name

    def check(self) -> None:
        """Raise ``UserError`` for an unknown format or an unavailable option."""
        if self.format not in SUFFIXES:
            raise UserError(f"--format {self.format}: wanted one of {', '.join(SUFFIXES)}")
        if self.int8 and self.format not in EIGHT_BITS:
            raise UserError(f"--int8 is for --format {', '.join(EIGHT_BITS)}")
        if self.opset is not None and self.format not in ONNX:
            raise UserError(f"--opset is for --format {' and '.join(ONNX)}")
        packages = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "keras": ("h5py",)}
        needed = packages.get("onnx" if self.format in ONNX else self.format, ())
        for name in needed:
            imported(name, f"--format {self.format}", " ".join(needed))
        if self.format == "litert":
            from firstlight.export.litert import need_converter

            need_converter(f"--format {self.format}")
        if self.opset is not None:
            from firstlight.export.graph import OPSETS

            if self.opset not in OPSETS:
                raise UserError(f"--opset {self.opset}: wanted {OPSETS[0]} to {OPSETS[-1]}")


@dataclass(frozen=True, kw_only=True)
class AccuracyLoss:
    """The loss by int8 on the test images."""

    accuracy: float
    """Accuracy of the run minus that of the file, 0 to 1."""
    interval: tuple[float, float]
    """95 % interval, paired, because both predicted the same images."""
    lost: int
    """Images that only the run gets right."""
    gained: int
    """Images that only the file gets right."""
    images: int
    """Number of test images."""

    @classmethod
    def of(cls, pair: Paired, images: int) -> "AccuracyLoss":
        """Return the loss, given the pairs of the run and the file on ``images`` images."""
        accuracy, interval = accuracy_difference(pair, images)
        return cls(
            accuracy=accuracy,
            interval=interval,
            lost=pair.only_first,
            gained=pair.only_second,
            images=images,
        )

    @property
    def too_much(self) -> bool:
        """Whether the test images show a loss above ``LARGEST_LOSS``."""
        return self.accuracy > LARGEST_LOSS and self.lost - self.gained >= LEAST_LOST

    @property
    def few(self) -> bool:
        """Whether a single image is more than ``LARGEST_LOSS``."""
        return self.images * LARGEST_LOSS < 1

    def words(self) -> str:
        """Describe the measurement."""
        low, high = (100 * end for end in self.interval)
        return (
            f"{100 * self.accuracy:.2f} points of accuracy (95 % interval {low:.2f} to "
            f"{high:.2f}): of {self.images:,} test images, {self.lost} became wrong and "
            f"{self.gained} became right"
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A written file, or the folder of a model repository."""

    path: Path
    size: int
    """Total bytes of all files."""
    accuracy: float
    """Accuracy of the file on the test images; with several labels the exact match."""
    parity: Parity
    loss: AccuracyLoss | None
    """The loss by int8."""
    served_as: str | None = None
    """For a model repository, the name under which Triton serves it."""
    several: bool = False
    """Whether it gives an image several labels."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "path": str(self.path)}


def export(
    folder: RunFolder,
    form: Form,
    *,
    out: Path | None = None,
    data: Given = None,
    data_dir: Path | None = None,
) -> Exported:
    """Write the run's network to ``out``, by default ``NAME`` with the format's extension in the
    current folder. A file is replaced; a model repository needs a new or empty folder.

    Every test image goes through both. Nothing is written unless all classes are equal and all
    probabilities are within 1e-5. With ``int8``, the loss of accuracy is measured instead. Raises
    ``ThresholdError`` for either, and ``UserError`` and ``DataError`` as ``evaluate`` does.
    """
    form.check()
    path = form.path(folder.name, out)  # raises before minutes of measuring
    model = run_model(folder)
    if form.format == "keras":  # this too
        from firstlight.export.keras import check_writable

        check_writable(model.saved)
    parts = data_of_run(folder, data_dir, data)
    metrics, run_NK = measured(model, parts.test)
    facts = card(folder, model.saved, metrics)
    with _traced(model.saved.architecture.network.code, form.format):
        content, answers = _written(model.saved, facts, parts.train, form, path)
    file_NK = answers(parts.test)
    parity = compare(run_NK, file_NK, model.task, model.calibration)
    loss = None
    if form.int8:
        loss = _loss(model, run_NK, file_NK, parts.test)
        if loss.too_much and not form.accept_loss:
            raise ThresholdError(
                f"int8 loses {loss.words()}. That is more than {100 * LARGEST_LOSS:g} points, so "
                "no file was written. Export without --int8, or accept the loss with "
                "--accept-loss"
            )
    else:
        require_equal(parity, f"the {form.format} file", model.task)
    right_N = model.task.right(parts.test.each_label, file_NK, model.calibration)
    done = Exported(
        path=path,
        size=len(content),
        accuracy=float(right_N.mean()),
        parity=parity,
        loss=loss,
        several=model.task.several,
    )
    if form.format == "triton":
        return _repository(done, content, facts, form.named(folder.name))
    write_asked(path, content)
    return done


@contextmanager
def _traced(code: OwnCode | None, format: str) -> Iterator[None]:  # noqa: A002
    """Raise errors of PyTorch's exporter about custom code, and of LiteRT's converter about any
    network, as ``UserError``."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError | MemoryError) or (code is None and format != "litert"):
            raise
        said = " ".join(str(error).split())[:300]
        if code is None:
            raise UserError(
                "--format litert: its converter does not take this network. Use another format, "
                f"such as onnx. The error was: {type(error).__name__}: {said}"
            ) from error
        raise UserError(
            f"PyTorch cannot export the module of {code.function} as {format}. In its forward, "
            "take the number of images from x.shape[0], not from len(x), and let no branch "
            f"depend on the values of a tensor. The error was: {type(error).__name__}: {said}"
        ) from error


def card(folder: RunFolder, saved: SavedModel, metrics: AnyMetrics) -> dict[str, Any]:
    """Return the metadata of the file: plain values without any path on this machine."""
    described = folder.read_json("data.json")
    entry = CATALOG.get(described["name"])
    return {
        "format": FORMAT,
        "firstlight": __version__,
        "class_names": saved.class_names,
        **({"labels": SEVERAL} if saved.task.several else {}),
        "preprocess": saved.preprocess.to_json(),
        "calibration": None if saved.calibration is None else asdict(saved.calibration),
        "architecture": saved.architecture.to_json(),
        "recipe": folder.recipe().name,
        "licence": {
            "weights": "yours to choose: the weights are your work",
            "data": "the licence of your own pictures" if entry is None else entry.licence,
        },
        "data": {
            **{k: described.get(k) for k in ("limit", "size", "shape", "train", "test")},
            "name": Path(described["name"]).name,
        },
        "metrics": {
            key: value
            for key, value in metrics.to_json().items()
            if key not in ("confusion", "most_confused")
        },
    }


def _written(
    saved: SavedModel, facts: dict[str, Any], train: Dataset, form: Form, path: Path
) -> tuple[bytes, Callable[[Dataset], Float32Array]]:
    """Return the file's bytes, and a function that reads them like another program and predicts."""
    if form.format in ONNX:
        content = _onnx(saved, facts, train, form)
        return content, lambda test: from_bytes(content, path).probabilities(test.images_NHWC)
    if form.format == "keras":
        from firstlight.export.keras import keras_bytes

        content = keras_bytes(saved, facts)
        return content, lambda test: _keras_answers(content, saved, test)
    if form.format == "litert":
        from firstlight.export import litert

        some_NHWC = _some(train, litert.IMAGES) if form.int8 else None
        content = litert.litert_bytes(saved, facts, some_NHWC)
        return content, lambda test: litert.litert_answers(content, test.images_NHWC)
    from firstlight.export import weights

    if form.format == "safetensors":
        content = weights.safetensors_bytes(saved, facts)
        return content, lambda test: weights.safetensors_answers(content, saved, test.images_NHWC)
    content = weights.torch_export_bytes(saved, facts)
    return content, lambda test: weights.torch_export_answers(content, test.images_NHWC)


def _keras_answers(content: bytes, saved: SavedModel, test: Dataset) -> Float32Array:
    """Predict with the file read back, because Keras need not be installed."""
    from firstlight.export.keras_import import read_keras

    read = read_keras(io.BytesIO(content), several=saved.task.several)
    architecture = Architecture(
        network=read.network, image_shape=read.image_shape, classes=read.classes
    )
    model = architecture.build(torch.Generator())
    model.load_state_dict({k: torch.from_numpy(v) for k, v in read.weights.items()})
    preprocess = replace(saved.preprocess, mean=read.mean, std=read.std)
    return probabilities(model.eval(), preprocess, test.images_NHWC, task=saved.task)


def _repository(done: Exported, content: bytes, facts: dict[str, Any], name: str) -> Exported:
    """Return ``done`` after writing its folder around the ONNX file."""
    from firstlight.export import triton

    served_as = triton.model_name(name)
    batch = images_at_once(Preprocess.from_json(facts["preprocess"]).image_shape)
    files = triton.repository(served_as, content, facts, batch)
    with new_folder(done.path) as work:
        for place, one in files.items():
            (work / place).parent.mkdir(parents=True, exist_ok=True)
            (work / place).write_bytes(one)
    return replace(done, size=sum(map(len, files.values())), served_as=served_as)


def _onnx(saved: SavedModel, facts: dict[str, Any], train: Dataset, form: Form) -> bytes:
    from firstlight.export import graph
    from firstlight.export import int8 as eight_bits

    version = form.opset or graph.OPSET
    network = graph.network(saved, version)
    if form.int8:
        network = eight_bits.quantized(network, _some(train, eight_bits.IMAGES))
    whole = graph.with_any_size(network, saved, version)
    for key, value in facts.items():
        entry = whole.metadata_props.add()
        entry.key, entry.value = key, write_json(value)
    return bytes(whole.SerializeToString())


def _some(train: Dataset, count: int) -> npt.NDArray[np.uint8]:
    """So many training images, spread evenly over them."""
    rows = train.content_order[:: max(1, len(train) // count)]
    images_NHWC: npt.NDArray[np.uint8] = train.take(rows[:count]).images_NHWC[:]
    return images_NHWC


def _loss(
    model: RunModel, run_NK: Float32Array, file_NK: Float32Array, test: Dataset
) -> AccuracyLoss:
    labels, calibration = test.each_label, model.calibration
    run_N, file_N = (model.task.right(labels, rows, calibration) for rows in (run_NK, file_NK))
    return AccuracyLoss.of(paired(run_N, file_N), len(test))
