"""The records of a run, apart from weights: machine, data, epochs, summary."""

import csv
import io
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight import __version__
from firstlight.checked import BETWEEN, class_names
from firstlight.errors import DataError
from firstlight.evaluate.metrics import MANY_CLASSES
from firstlight.evaluate.prediction import check_probabilities
from firstlight.evaluate.task import SEVERAL_LABELS, task_in
from firstlight.runs.folder import RunFolder
from firstlight.threads import waiting
from firstlight.untrusted import cell, csv_text, from_cell, shell_word, without_password

if TYPE_CHECKING:
    from firstlight.training.layer_figures import LayerFigures
    from firstlight.training.position import EpochRecord

P_TRUE = "p of the true class"
"""Column of the one probability per line, if there are many classes."""
CPUINFO = Path("/proc/cpuinfo")


def environment(device: str, threads: int) -> dict[str, Any]:
    """Return versions, machine and command, for ``environment.json``."""
    import torch

    accelerator = torch.cuda.get_device_name() if device == "cuda" else None
    return {
        "firstlight": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "device": device,
        "accelerator": accelerator,
        **(_cuda() if device == "cuda" else {}),
        "threads": threads,
        "waiting": waiting(),
        "command": [
            Path(sys.argv[0]).name.replace("__main__.py", "firstlight"),
            *map(without_password, sys.argv[1:]),
        ],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cuda() -> dict[str, Any]:
    """Return what else an NVIDIA GPU's bits depend on: versions, and how float32 is computed."""
    import torch

    from firstlight.devices import PRECISION

    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "float32": PRECISION,
    }


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None if its program is missing or does not answer."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(told.stdout.split()), None)


def processor_name() -> str:
    """Return the system's name of the processor, with family and model if known. Cloud providers
    use one name for several generations."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    told: dict[str, str] = {}
    for key, _, value in (line.partition(":") for line in lines):
        told.setdefault(key.strip(), value.strip())  # keep the first core's value
    if "model name" not in told:
        return platform.processor() or platform.machine()
    if not {"cpu family", "model"} <= told.keys():
        return told["model name"]
    return f"{told['model name']} (family {told['cpu family']}, model {told['model']})"


def write_epochs(
    folder: RunFolder, records: Sequence["EpochRecord"], layers: Sequence["LayerFigures"]
) -> None:
    """Write ``epochs.csv``, one line per epoch, and ``layers.csv``, one line per epoch and layer; a
    missing measurement is an empty cell."""
    if records:
        folder.write("epochs.csv", _lines(records))
    if layers:
        folder.write("layers.csv", _lines(layers))


def _lines(records: Sequence["EpochRecord"] | Sequence["LayerFigures"]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(records[0])], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: "" if v is None else v for k, v in asdict(record).items()})
    return text.getvalue()


def read_epochs(folder: RunFolder) -> list[dict[str, float | None]]:
    """Return the lines of ``epochs.csv`` as numbers."""
    try:
        rows = list(csv.DictReader(io.StringIO(folder.read("epochs.csv"))))
        return [{k: float(v) if v else None for k, v in row.items()} for row in rows]
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{folder.path / 'epochs.csv'}: damaged: {error}") from error


def read_layers(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of ``layers.csv``, numbers as such; none without that file, as in runs of
    older versions."""
    if not (folder.path / "layers.csv").is_file():
        return []
    try:
        return [
            {
                "epoch": int(row["epoch"]),
                "layer": row["layer"],
                **{name: float(row[name]) for name in ("weights", "gradients", "update")},
            }
            for row in csv.DictReader(io.StringIO(folder.read("layers.csv")))
        ]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise DataError(f"{folder.path / 'layers.csv'}: damaged: {error}") from error


def predictions_csv(
    names: Sequence[str],
    labels_N: npt.NDArray[np.int64],
    probabilities_NK: npt.NDArray[np.float32],
    class_names: Sequence[str],
) -> str:
    """Return ``predictions.csv``: index or path, truth, answer, confidence, every probability.

    With more than ``MANY_CLASSES`` classes, only the true class's probability is included. Nine
    significant digits restore the same float32. No name can act as a spreadsheet formula.
    """
    head = ["image", "true", "predicted", "confidence"]
    if len(class_names) > MANY_CLASSES:
        head.append(P_TRUE)
        rest_NP = probabilities_NK[np.arange(len(labels_N)), labels_N][:, None]
    else:
        head += [f"p_{name}" for name in class_names]
        rest_NP = probabilities_NK
    classes = [cell(name) for name in class_names]
    answers_N = probabilities_NK.argmax(axis=1)
    rows = (
        [cell(name), classes[label], classes[answer], f"{row[answer]:.9g}"]
        + [f"{p:.9g}" for p in rest]
        for name, label, answer, row, rest in zip(
            names, labels_N, answers_N, probabilities_NK, rest_NP, strict=True
        )
    )
    return csv_text([head, *rows])


def label_predictions_csv(
    names: Sequence[str],
    labels_NK: npt.NDArray[np.bool_],
    probabilities_NK: npt.NDArray[np.float32],
    class_names: Sequence[str],
    given_NK: npt.NDArray[np.bool_],
) -> str:
    """Return ``predictions.csv`` for images with several labels: index or path, true labels,
    predicted labels, and every probability. Labels are joined with ``;``; none is an empty cell."""

    def joined(row_K: npt.NDArray[np.bool_]) -> str:
        return cell(BETWEEN.join(class_names[k] for k in np.flatnonzero(row_K).tolist()))

    rows = (
        [cell(name), joined(true_K), joined(given_K), *(f"{p:.9g}" for p in row_K)]
        for name, true_K, given_K, row_K in zip(
            names, labels_NK, given_NK, probabilities_NK, strict=True
        )
    )
    return csv_text([["image", "true", "predicted", *(f"p_{one}" for one in class_names)], *rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelAnswers:
    """The content of ``predictions.csv`` for each of N images with several of K labels."""

    names: list[str]
    """Index or path of each image."""
    true_NK: npt.NDArray[np.bool_]
    given_NK: npt.NDArray[np.bool_]
    probabilities_NK: npt.NDArray[np.float32]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each image got exactly its labels."""
        right_N: npt.NDArray[np.bool_] = (self.true_NK == self.given_NK).all(axis=1)
        return right_N

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """N×K."""
        return self.true_NK

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """The loss of each image, summed over the labels."""
        least = np.finfo(np.float64).eps
        exact_NK = self.probabilities_NK.astype(np.float64).clip(least, 1 - least)
        losses_N: npt.NDArray[np.float64] = -np.log(
            np.where(self.true_NK, exact_NK, 1 - exact_NK)
        ).sum(axis=1)
        return losses_N


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The content of ``predictions.csv`` for each of N images."""

    names: list[str]
    """Index or path of each image."""
    true_N: npt.NDArray[np.int64]
    predicted_N: npt.NDArray[np.int64]
    confidence_N: npt.NDArray[np.float32]
    """The probability of the answer."""
    truth_N: npt.NDArray[np.float32]
    """The probability given to the true class."""

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each image's answer is right."""
        right_N: npt.NDArray[np.bool_] = self.predicted_N == self.true_N
        return right_N

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """N."""
        return self.true_N


AnyAnswers = Answers | LabelAnswers


def in_both(
    first: AnyAnswers, second: AnyAnswers, described: tuple[dict[str, Any], dict[str, Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the test images that two runs share, by their indices in each.

    ``described`` is the content of the runs' ``data.json``. If the pixels are identical, these are
    all images. If the pictures come from the same place, they are those with the same names: runs
    may resize the pictures differently and hold out different ones. Otherwise there are none.
    """
    one, other = described
    same_classes = one["class_names"] == other["class_names"]
    if one["test"]["sha256"] == other["test"]["sha256"]:
        alike = same_classes and np.array_equal(first.truth, second.truth)
        every = np.arange(len(first.truth) if alike else 0)
        return every, every
    numbered = any(name.isdecimal() for name in (*first.names, *second.names))
    if not one.get("path") or one["path"] != other.get("path") or not same_classes or numbered:
        return np.arange(0), np.arange(0)
    place = {name: at for at, name in enumerate(second.names)}
    pairs = [
        (at, place[name])
        for at, name in enumerate(first.names)
        if name in place and np.array_equal(first.truth[at], second.truth[place[name]])
    ]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def read_answers(folder: RunFolder) -> Answers:
    """Read the lines of ``predictions.csv`` for images with one class each. Raises ``DataError`` if
    it is missing or damaged."""
    answers = read_any_answers(folder)
    assert isinstance(answers, Answers), "one label each"
    return answers


def read_any_answers(folder: RunFolder) -> AnyAnswers:
    """Read the lines of ``predictions.csv``. Raises ``DataError`` if it is missing or damaged."""
    path = folder.path / "predictions.csv"
    try:
        head, *rows = list(
            csv.reader(io.StringIO(folder.read("predictions.csv", "surrogateescape"), newline=""))
        )
        metrics = folder.read_json("metrics.json")
        if task_in(metrics).several:
            return _label_answers(head, rows, metrics, path)
        every = head[4:] != [P_TRUE]
        first = [name.removeprefix("p_") for name in head[4:]]
        if not every:
            first = [str(row["name"]) for row in metrics["per_class"]]
        index = {name: k for k, name in enumerate(class_names(first, f"{path}: its first line"))}
        wanted = metrics["count"]
        if len(rows) != wanted:
            raise ValueError(f"{len(rows)} of {wanted} lines")
        right = sum(row[1] == row[2] for row in rows)
        if right != metrics["correct"]:
            raise ValueError(f"{right} are correct, but metrics.json has {metrics['correct']}")
        true_N = np.array([index[from_cell(row[1])] for row in rows], dtype=np.int64)
        probabilities = np.array([row[3:] for row in rows], dtype=np.float32)
        told = probabilities[:, 1:]
        # With many classes the file has one probability; the others share the rest.
        rows_NK = told if every else np.concatenate([told, 1 - told], axis=1)
        check_probabilities(rows_NK, f"{path}: the model")
        confidence_N = probabilities[:, 1:].max(axis=1) if every else probabilities[:, 0]
        at_N = true_N if every else np.zeros_like(true_N)
        return Answers(
            names=[from_cell(row[0]) for row in rows],
            true_N=true_N,
            predicted_N=np.array([index[from_cell(row[2])] for row in rows], dtype=np.int64),
            confidence_N=confidence_N,
            truth_N=probabilities[np.arange(len(rows)), 1 + at_N],
        )
    except (ValueError, TypeError, LookupError, csv.Error) as error:
        raise DataError(
            f"{path}: damaged: {error!r}. Write it again with: firstlight evaluate "
            f"{shell_word(folder)}"
        ) from error


def _label_answers(
    head: list[str], rows: list[list[str]], metrics: dict[str, Any], path: Path
) -> LabelAnswers:
    """Parse the rows for several labels. Raises ``ValueError`` or ``LookupError`` if they are
    damaged."""
    named = [name.removeprefix("p_") for name in head[3:]]
    index = {name: k for k, name in enumerate(class_names(named, f"{path}: its first line"))}
    if len(rows) != metrics["count"]:
        raise ValueError(f"{len(rows)} of {metrics['count']} lines")

    def read(column: int) -> npt.NDArray[np.bool_]:
        found_NK = np.zeros((len(rows), len(index)), dtype=bool)
        for row_K, row in zip(found_NK, rows, strict=True):
            for label in filter(None, from_cell(row[column]).split(BETWEEN)):
                row_K[index[label]] = True
        return found_NK

    probabilities_NK = np.array([row[3:] for row in rows], dtype=np.float32)
    SEVERAL_LABELS.check(probabilities_NK, f"{path}: the model")
    answers = LabelAnswers(
        names=[from_cell(row[0]) for row in rows],
        true_NK=read(1),
        given_NK=read(2),
        probabilities_NK=probabilities_NK,
    )
    right = int(answers.right.sum())
    if right != metrics["correct"]:
        raise ValueError(f"{right} are correct, but metrics.json has {metrics['correct']}")
    return answers
