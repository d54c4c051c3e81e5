"""The Python library: ``load``, ``train`` and ``open_run``; most of the rest is methods of
``Run``."""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.backbones import refuse_backbone
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.errors import NothingLearntWarning, UserError
from firstlight.hub.word import is_hub
from firstlight.layers.network import Network
from firstlight.recipe import Recipe
from firstlight.runs.folder import RunFolder, open_run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch.nn import Module

    from firstlight.augment import Augmentation
    from firstlight.evaluate.prediction import Prediction
    from firstlight.evaluate.task import AnyMetrics
    from firstlight.layers import Layer
    from firstlight.layers.own_code import OwnCode
    from firstlight.optimizers import Optimizer
    from firstlight.schedules import Schedule
    from firstlight.serve.live_page import LivePage
    from firstlight.verbs.explanation import Explanation
    from firstlight.verbs.export import Exported
    from firstlight.verbs.other_data import Other
    from firstlight.verbs.predict_many import Answered
    from firstlight.verbs.tune import Found

__all__ = ["Run", "load", "open_run", "resume", "train", "tune"]


class Run:
    """A trained model and everything about it, in one folder."""

    def __init__(self, folder: RunFolder, data: TrainTest | Path | None = None) -> None:
        self._folder, self._data = folder, data

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str | None:
        from firstlight.verbs.run_cell import run_cell

        return run_cell(self._folder)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def source(self) -> str | None:
        """``hf:OWNER/NAME@COMMIT`` of a run that was downloaded from the hub."""
        from firstlight.runs.from_hub import SOURCE

        if not (self.path / SOURCE).is_file():
            return None
        with self._folder.trusted():
            return str(self._folder.read_json(SOURCE)["word"])

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run, with all settings."""
        return self._folder.recipe()

    @property
    def summary(self) -> dict[str, Any]:
        """Final figures of the training: parameters, steps, seconds, and those of the last
        epoch."""
        self._folder.require_finished()
        summary: dict[str, Any] = self._folder.read_json("summary.json")
        return summary

    def evaluate(
        self,
        data: "str | Path | TrainTest | Dataset | tuple[Any, Any] | None" = None,
        *,
        range: tuple[float, float] | None = None,  # noqa: A002
        allow_outside: bool = False,
    ) -> "AnyMetrics":
        """Return test-set metrics, which are also written to ``metrics.json`` and
        ``predictions.csv``.

        They are ``Metrics``, or ``LabelMetrics`` if images have several labels.

        ``data`` is other labelled data with the same class names. Its figures are kept apart, in
        ``evaluated-…`` in the run folder. If the data set, ``TrainTest`` or path has a test part,
        only that part is measured. A ``Dataset``, ``(images, labels)`` or any other path is
        measured whole. Data left out give a ``UserWarning``. ``range`` and ``allow_outside`` are as
        in ``from_images`` and ``load``. Warns with ``NothingLearntWarning`` if the answers are no
        better than guessing.
        """
        from firstlight.evaluate.learnt import nothing_learnt
        from firstlight.verbs.evaluate import evaluate

        if data is not None:
            return self._evaluate_other(data, range, allow_outside)
        if range is not None or allow_outside:
            raise UserError("range and allow_outside set how data= is read; give data= too")
        metrics = evaluate(self._folder, data=self._data)
        if why := nothing_learnt(metrics):
            _warn(f"the network has learned nothing: {why}")
        return metrics

    def _evaluate_other(self, data: Any, pixel_range: Any, allow_outside: bool) -> "AnyMetrics":
        from firstlight.model import run_model
        from firstlight.verbs.evaluate import evaluate
        from firstlight.verbs.other_data import evaluate_other, is_other

        self._folder.require_finished()
        model = run_model(self._folder)
        known = model.class_names if model.task.several else ()
        other = _other(data, pixel_range, allow_outside, known)
        if isinstance(other.data, str) and not is_other(self._folder, other):
            return evaluate(self._folder, data=Path(other.data))
        metrics, matched, _ = evaluate_other(model, other, self._folder)
        if matched.missing or matched.surplus or matched.unread:
            warnings.warn("\n".join(matched.told), stacklevel=3)
        return metrics

    def predict(
        self,
        images: "npt.NDArray[Any] | str | Path | Image | Sequence[str | Path | Image | npt.NDArray[Any]]",  # noqa: E501
        *,
        range: tuple[float, float] | None = None,  # noqa: A002
    ) -> list["Prediction"]:
        """Return one prediction for each image.

        ``images`` is an array N×H×W×C (or N×H×W for grey) of the model's size. It may also be
        picture files, folders and patterns, or Pillow images or arrays H×W×C (or H×W), all of any
        size. Arrays hold 0 to 255, floats in [0, 1], or booleans; for other values ``range`` gives
        black and white. A picture that cannot be read has its ``error`` set. Raises ``ValueError``
        for an array of another shape, and ``DataError`` if its range is unclear.
        """
        from firstlight.data.arrays import as_array
        from firstlight.model import run_model
        from firstlight.verbs.predict import predict_array, predict_given

        model = run_model(self._folder)
        if hasattr(images, "__array__"):
            return predict_array(model, as_array(images), range)
        # A path as text is also a sequence, of letters.
        if isinstance(images, Sequence) and not isinstance(images, str):
            return predict_given(model, images, range)
        return predict_given(model, [images], range)

    def predict_to(
        self,
        out: str | Path,
        images: str | Path | Sequence[str | Path],
        *,
        format: str = "csv",  # noqa: A002
        chunk: int | None = None,
        workers: int | None = None,
        range: tuple[float, float] | None = None,  # noqa: A002
        device: str = "auto",
        quiet: bool = False,
    ) -> "Answered":
        """Predict any number of images and write the answers to files in the folder ``out``.

        ``images`` are picture files, folders and patterns, or shards: tar files, Parquet files,
        patterns, addresses. ``out`` receives ``answers.json`` and ``part-00000.csv`` and so on
        (``format``: ``csv`` or ``parquet``), each with at most ``chunk`` images, by default 500 to
        10,000. ``workers`` is the number of processes, by default one per processor; it does not
        change the files. Call again with the same arguments to continue after a stop. Pictures that
        cannot be read are counted and have an ``error``; the others are as in ``predict``.
        ``range`` applies to pixels in a CSV. Raises ``UserError`` if ``out`` belongs to other
        images or another model; ``DataError`` for missing images, a damaged shard or a full disk;
        and ``RunInterruptedError`` on Ctrl-C.
        """
        from firstlight.data.levels import stated
        from firstlight.verbs.answering import Wanted
        from firstlight.verbs.predict_many import predict_many

        words = [images] if isinstance(images, str | Path) else images
        wanted = Wanted(
            model=self.path,
            words=tuple(map(str, words)),
            out=Path(out),
            form=format,
            chunk=chunk,
            device=device,
            code=self._folder.code,
            range=stated(range, "range"),
        )
        return predict_many(wanted, workers, quiet=quiet)

    def explain(
        self, image: npt.NDArray[np.uint8] | str | Path, class_name: str | None = None
    ) -> "Explanation":
        """Explain the answer for one image. Also writes ``figures/explain-NAME.png`` and
        ``explain-NAME.html``; a notebook shows the picture.

        ``image`` is a picture file, ``"test:N"`` for a test image, or a uint8 array H×W×C (H×W for
        grey) of the model's size. ``class_name`` is the class to explain, by default the answer.
        Raises ``UserError`` or ``DataError``, each saying what to do next, and ``ValueError`` for
        an array of another shape or dtype.
        """
        from firstlight.model import run_model
        from firstlight.verbs.explain import explain

        model = run_model(self._folder, "auto")
        return explain(model, image, class_name=class_name, data=self._data)

    def show_predictions(self) -> "Figure | None":
        """Show ten test images with their answers in a notebook; elsewhere, return the figure.

        Evaluates the run first if necessary. In a notebook nothing is returned, so that a cell
        ending with this call shows the figure only once.
        """
        from firstlight.progress import in_notebook
        from firstlight.verbs.report import prediction_strip_figure

        if not (self.path / "predictions.csv").is_file():
            self.evaluate()
        picture = prediction_strip_figure(self._folder, data=self._data)
        if not in_notebook():
            return picture
        from IPython.display import display

        display(picture)
        return None

    def draw(self) -> "LivePage":
        """The page of ``firstlight serve`` for this run, in the cell of a notebook: draw, and watch
        the answer and the output of every layer.

        It is served by this process, to this machine only, until its ``close``. The same run has
        one page. A browser on another machine cannot reach it, except in Colab, which leads there.
        Raises ``UserError`` if the run is not finished or cannot be read.
        """
        from firstlight.serve.live_page import live_page

        self._folder.require_finished()
        return live_page(self._folder, self._test_images)

    def _test_images(self) -> Dataset | None:
        """Return the page's test images; None if they are not on this machine."""
        from firstlight.verbs.run_data import run_test_data

        try:
            return run_test_data(self._folder, data=self._data)
        except UserError:
            return None

    def report(self) -> Path:
        """Write ``figures/*.png`` and ``report.html``, and return the path of the page."""
        from firstlight.verbs.report import report

        return report(self._folder, data=self._data)

    def card(self, *, license: str | None = None) -> str:  # noqa: A002
        """Return the model card as Markdown: data, training, accuracy, limits and use. It begins
        with metadata in the format of the Hugging Face hub.

        The figures come from ``evaluate``; without them, the card says so. ``license`` is the hub's
        identifier for the licence of the weights, such as ``mit``; by default the card names none.
        Raises ``UserError`` for an unfinished run or an invalid identifier.
        """
        from firstlight.verbs.card import card

        return card(self._folder, license=license)

    def to_hub(
        self,
        repository: str,
        *,
        public: bool = False,
        license: str | None = None,  # noqa: A002
    ) -> str:
        """Publish the run on the Hugging Face hub as ``OWNER/NAME`` (extra ``hub``): weights,
        recipe, figures and model card. Returns ``hf:OWNER/NAME@COMMIT``, which ``open_run``
        accepts.

        A new repository is private unless ``public``; an existing one gets a new commit.
        ``license`` is as in ``card``. No pictures and no paths of this machine are published.
        Raises ``UserError``, ``DataError`` or ``UnreachableError``, each saying what to do next;
        the hub is then unchanged.
        """
        from firstlight.verbs.push import push

        return push(self._folder, repository, public=public, license=license).word

    def export(
        self,
        format: str = "onnx",  # noqa: A002
        out: str | Path | None = None,
        *,
        opset: int | None = None,
        int8: bool = False,
        accept_loss: bool = False,
    ) -> "Exported":
        """Write the network as a file that other programs run: ``onnx``, ``safetensors``,
        ``torch-export``, ``keras`` or ``litert``; or as a folder that Triton Inference Server
        serves: ``triton``.

        Every test image goes through both; unless the answers are equal nothing is written. With
        ``int8`` the accuracy lost is measured, and more than 0.3 points refused unless accepted.
        Raises ``UserError``, ``DataError`` or ``ThresholdError``, each saying what to do next.
        """
        from firstlight.verbs.export import Form, export

        form = Form(format=format, opset=opset, int8=int8, accept_loss=accept_loss)
        return export(self._folder, form, out=None if out is None else Path(out), data=self._data)


def load(
    name: str | Path,
    data_dir: str | Path | None = None,
    *,
    size: int | None = None,
    allow_outside: bool = False,
) -> TrainTest:
    """Load a data set.

    ``name`` may be the name of a data set, which is checked against its published checksums and
    downloaded if necessary; a folder or CSV of pictures, an ``.npz``, ``.npy`` or ``.mat`` file,
    which are decoded once, at ``size`` × ``size`` pixels if that is set; ``hf:OWNER/NAME``, a data
    set on the Hugging Face hub; or ``https://HOST/NAME.tgz`` or ``.zip``, an archive of class
    folders. The last two are downloaded once.

    ``allow_outside`` accepts files in a CSV that lie outside its folder. A named data set is
    searched in ``data_dir``, ``$FIRSTLIGHT_DATA``, the cache, and the folders of Keras and
    torchvision. Raises ``UserError`` for an unknown ``name``, ``DataError`` for damaged files, and
    ``UnreachableError`` if the data set cannot be found or downloaded.
    """
    from firstlight.verbs.run_data import DataRequest

    if not isinstance(name, str | Path):
        raise UserError(
            f"wanted the name of a data set or a path, got {_kind(name)}. For arrays use "
            "fl.from_images(images, labels)"
        )
    where = Path(data_dir) if data_dir else None
    request = DataRequest(name=str(name), data_dir=where, size=size, allow_outside=allow_outside)
    data = request.load()
    _warn_of(data)
    return data


def _warn_of(data: TrainTest) -> None:
    """Warn the caller's caller about data that were left out or are wrong."""
    if data.train.warnings:
        warnings.warn("\n".join((data.train.name, *data.train.warnings)), stacklevel=3)


def train(
    data: "str | Path | TrainTest | tuple[Any, Any]",
    recipe: str | Path | Recipe | None = None,
    *,
    network: "Network | Sequence[Layer] | OwnCode | Callable[..., Module] | str | None" = None,
    augment: "Sequence[Augmentation] | None" = None,
    optimizer: "Optimizer | None" = None,
    schedule: "Schedule | None" = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    start: str | Path | None = None,
    settings: str | Sequence[str] = (),
    epochs: float | None = None,
    budget: float | None = None,
    patience: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    limit: int | None = None,
    track: str | Sequence[str] = (),
    quiet: bool = False,
) -> Run:
    """Train a network and return its run.

    ``data`` is the name of a data set, or anything else that ``load`` accepts: a folder, CSV,
    shards, a file of arrays, ``hf:OWNER/NAME``, an archive's address. It may also be a
    ``TrainTest``, as returned by ``from_images`` and ``from_dataset``, or arrays: ``(images,
    labels)``, or ``((images, labels), (test images, test labels))``.

    ``recipe`` is a name, a TOML file or a value, by default the data's own. ``network`` is a list
    of ``fl.layers``, or your own code: a function that takes the image shape (height, width,
    channels) and the number of classes and returns a ``torch.nn.Module``, or
    ``"FILE.py:FUNCTION"``. Without a recipe it trains like the tutorial's: Adam, batches of 32, 5
    epochs. ``augment`` is a list of ``fl.augment``; ``optimizer`` is one of ``fl.SGD``,
    ``fl.Adam``, ``fl.AdamW``, ``fl.RMSprop``, ``fl.Muon``; ``schedule`` is one of ``fl.Constant``,
    ``fl.OneCycle``, ``fl.Cosine``, ``fl.Steps``. Each replaces the recipe's own. ``settings`` are
    changes of the recipe, ``"section.key=value"``.

    ``start`` is a run folder or the name of a pretrained backbone. Its weights are used except for
    the last layer's, and lower layers get smaller learning rates. Without ``start``, your own
    pictures are also tried with a backbone that is on this machine, and the better network is
    returned; ``"none"`` turns that off. ``budget`` (seconds) replaces ``epochs`` with as many as
    fit on this machine. ``patience`` stops after that many epochs without a lower held-out loss,
    and keeps the best weights. ``track`` names the trackers that the run is copied to during
    training: ``tensorboard``, ``trackio``, ``mlflow``, ``wandb``. An error in a tracker is
    reported, and does not end the training.

    Problems in the data, and data left out, give a ``UserWarning``; ``quiet`` hides only the
    progress. Raises ``UserError`` or ``DataError``, each saying what to do next. Warns with
    ``NothingLearntWarning`` if the network is no better than guessing.
    """
    started = time.perf_counter()  # a budget includes the imports below
    from firstlight.progress import choose_display
    from firstlight.recipe import Setting
    from firstlight.verbs.contest import train as train_best
    from firstlight.verbs.plan import Asked, Budget
    from firstlight.verbs.run_data import DataRequest

    given = _given(data)
    name = str(data) if given is None else given.train.name.partition("/")[0]
    request = DataRequest(name=name, data=given, limit=limit, quiet=quiet)
    request.check_name()
    named = given is None and request.own is None
    if not named:
        _warn_of(given or request.load())
    code = _code(network)
    _refuse_two_rates(optimizer, learning_rate)
    parts = {
        "network": network if code is None or isinstance(network, Network) else code,
        "augment": augment,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    numbers = {
        "optimizer.learning_rate": learning_rate,
        "train.batch_size": batch_size,
        "train.epochs": epochs,
        "train.patience": patience,
        "train.seed": seed,
    }
    asked = Asked(
        recipe=recipe,
        parts={name: part for name, part in parts.items() if part is not None},
        settings=[
            *([settings] if isinstance(settings, str) else settings),
            *(
                Setting(f"{key}={number}", key.partition(".")[2])
                for key, number in numbers.items()
                if number is not None
            ),
        ],
        source="fl.train",
        start=None if start is None else Path(start),
        budget=None if budget is None else Budget(seconds=budget, started=started, name="budget"),
        device=device,
        track=[track] if isinstance(track, str) else track,
        told=_warn_of if named else None,
    )
    display = choose_display(quiet=quiet)
    folder = train_best(request, asked, display, None if out is None else Path(out))
    _warn(folder.read_json("summary.json")["nothing_learnt"])
    return Run(folder, given)


def tune(
    data: "str | Path | TrainTest | tuple[Any, Any]",
    recipe: str | Path | Recipe | None = None,
    *,
    network: "Network | Sequence[Layer] | OwnCode | Callable[..., Module] | str | None" = None,
    settings: str | Sequence[str] = (),
    trials: int | None = None,
    budget: float | None = None,
    search: "str | Path | Mapping[str, Any] | None" = None,
    storage: str | Path | None = None,
    name: str | None = None,
    seeds: int = 3,
    device: str = "auto",
    out: str | Path | None = None,
    quiet: bool = False,
) -> "Found":
    """Search for the best settings of a recipe with Optuna (``pip install 'firstlight[tune]'``).

    ``data``, ``recipe``, ``network`` and ``settings`` are as in ``train``. ``search`` is a TOML
    file of settings to try, or a mapping such as ``{"train.batch_size": [32, 64]}``. By default it
    covers the learning rate, weight decay, batch size, label smoothing and the strength of each
    augmentation. Each trial is a run folder in ``out``, by default ``runs/tune-NAME``. Held-out
    images decide, never the test set. The search ends after ``trials`` (30 if neither limit is
    given), or when another trial would exceed ``budget`` (seconds). ``storage`` is an SQLite file,
    a journal file on a shared disk, or a PostgreSQL server; searches with the same name there share
    their trials. At the end the chosen recipe is trained with ``seeds`` seeds, and each run is
    evaluated on the test set.

    Writes ``best.toml``, ``search.json``, ``trials.csv`` and ``search.png`` into ``out``. Raises
    ``UserError`` or ``DataError``, each saying what to do next.
    """
    started = time.perf_counter()
    from firstlight.progress import WithoutEpochs, choose_display
    from firstlight.verbs.plan import Asked, Budget
    from firstlight.verbs.run_data import DataRequest
    from firstlight.verbs.tune import Search
    from firstlight.verbs.tune import tune as search_for
    from firstlight.verbs.tune_report import write_found

    given = _given(data)
    named = str(data) if given is None else given.train.name.partition("/")[0]
    request = DataRequest(name=named, data=given, quiet=quiet)
    request.check_name()
    if given is not None or request.own is not None:
        _warn_of(given or request.load())
    code = _code(network)
    part = network if code is None or isinstance(network, Network) else code
    asked = Asked(
        recipe=recipe,
        parts={} if part is None else {"network": part},
        settings=[settings] if isinstance(settings, str) else list(settings),
        source="fl.tune",
        device=device,
    )
    wanted = Search(
        trials=trials,
        budget=None if budget is None else Budget(seconds=budget, started=started, name="budget"),
        space=Path(search) if isinstance(search, str) else search,
        storage=None if storage is None else str(storage),
        name=name,
        seeds=seeds,
        out=None if out is None else Path(out),
    )
    found = search_for(request, asked, wanted, WithoutEpochs(choose_display(quiet=quiet)))
    write_found(found)
    return found


def _refuse_two_rates(optimizer: Any, learning_rate: Any) -> None:
    """Raise ``UserError`` if an optimizer with its own learning rate comes with another one."""
    from firstlight.optimizers import Optimizer

    if learning_rate is None or not isinstance(optimizer, Optimizer):
        return
    (usual,) = (spec.default for spec in fields(optimizer) if spec.name == "learning_rate")
    if optimizer.learning_rate not in (usual, learning_rate):
        raise UserError(
            f"the learning rate is given twice: {optimizer.learning_rate:g} by optimizer, "
            f"{learning_rate!r} by learning_rate; leave one out"
        )


def resume(
    path: str | Path,
    data: "TrainTest | str | Path | tuple[Any, Any] | None" = None,
    *,
    network: "Callable[..., Module] | str | None" = None,
    quiet: bool = False,
) -> Run:
    """Resume a stopped run. The result has the same bits as a run that was never stopped.

    ``data``, as in ``train``, or its new location, is needed only if the run's data is not a named
    data set and was moved. ``network``, the function that the run was started with, is needed only
    if its network is your own code.
    """
    from firstlight.progress import choose_display
    from firstlight.verbs.contest import resume as take_up
    from firstlight.verbs.fit import AskedAgain

    refuse_backbone(path)
    given, code = _given_again(data), _code(network)
    folder = take_up(Path(path), choose_display(quiet=quiet), AskedAgain(data=given, code=code))
    _warn(folder.read_json("summary.json")["nothing_learnt"])
    return Run(folder, given)


def open_run(
    path: str | Path,
    data: "TrainTest | str | Path | tuple[Any, Any] | None" = None,
    *,
    network: "Callable[..., Module] | str | None" = None,
) -> Run:
    """Open an existing run: its folder, the name of a bundled model, or
    ``hf:OWNER/NAME[@REVISION]``, a run on the Hugging Face hub, which is downloaded once (extra
    ``hub``).

    ``data``, or its new location, is needed only if the run's data is not a named data set and was
    moved. ``network``, the function that the run was trained with, is needed only if its network is
    your own code, which never runs unless it is named here. Raises ``UserError`` if it is not a
    run; ``DataError`` if it is not on the hub or not a run there; and ``UnreachableError`` if the
    hub does not answer and the run is not on this machine.
    """
    refuse_backbone(path)
    given = _given_again(data)
    return Run(open_run_folder(_run_here(path), _code(network)), given)


def _run_here(path: str | Path) -> Path:
    """Return a run's folder; download a run on the hub."""
    if not is_hub(path) or os.path.lexists(path):
        return Path(path)
    from firstlight.runs.from_hub import hub_run

    found = hub_run(path)
    for note in found.notes:
        warnings.warn(note, stacklevel=3)
    return found.folder


def _code(network: Any) -> "OwnCode | None":
    """Return the code that ``network=`` names, if it is code."""
    from firstlight.layers.own_code import own_code

    if network is None or isinstance(network, Network):
        return None if network is None else network.code
    return None if isinstance(network, list | tuple) else own_code(network)


def _given(data: Any) -> TrainTest | None:
    """Return data that was passed directly; None for a name or a path."""
    from firstlight.data.arrays import from_images

    if isinstance(data, TrainTest):
        return _told_of_levels(data)
    if isinstance(data, str | Path):
        return None
    if isinstance(data, tuple) and len(data) == 2:
        one, other = data
        if isinstance(one, Dataset) and isinstance(other, Dataset):
            return _told_of_levels(TrainTest(one, other))
        if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other) == 2:
            return from_images(*one, test=other)
        if not isinstance(one, Dataset | str | Path):
            return from_images(one, other)
    raise UserError(
        "wanted the name of a data set, a path, a TrainTest, (images, labels), or ((images, "
        f"labels), (test images, test labels)), got {_kind(data)}. Pass labels with their "
        "images: fl.train((images, labels)). For data sets of other libraries use "
        "fl.from_dataset(data)"
    )


def _other(data: Any, pixel_range: Any, allow_outside: bool, known: Sequence[str] = ()) -> "Other":
    """Convert other labelled data for the verb; ``known`` are the labels of a run that gives
    several."""
    from firstlight.data.arrays import whole_of
    from firstlight.data.levels import stated
    from firstlight.verbs.other_data import Other

    limits = stated(pixel_range, "range")
    if isinstance(data, str | Path):
        return Other(data=str(data), allow_outside=allow_outside, range=limits)
    if allow_outside:
        raise UserError("allow_outside is for a CSV of paths")
    pair = isinstance(data, tuple) and len(data) == 2
    if pair and not any(isinstance(one, tuple | Dataset | str | Path) for one in data):
        images, labels = data
        return Other(data=whole_of(images, labels, limits, known))
    if limits is not None:
        raise UserError("range is for arrays; a data set already has its pixel range")
    if isinstance(data, Dataset):
        return Other(data=data)
    given = _given(data)
    assert given is not None, "no name and no path"
    return Other(data=given.test)


def _given_again(data: Any) -> TrainTest | Path | None:
    """Return the data of an existing run, passed directly or by its new location."""
    if data is None:
        return None
    return Path(data) if isinstance(data, str | Path) else _given(data)


def _told_of_levels(data: TrainTest) -> TrainTest:
    """Warn if the training images are almost black."""
    from firstlight.data.levels import dark_note

    train, test = data
    if not isinstance(train.images_NHWC, np.ndarray) or not len(train):
        return data  # larger than memory, read from files, and already warned about
    note = dark_note(int(train.images_NHWC.max()))
    if not note or note in train.warnings:
        return data
    told = replace(train, notes=(*train.notes, note), warnings=(*train.warnings, note))
    return TrainTest(told, test)


def _kind(data: Any) -> str:
    shape = getattr(data, "shape", None)
    return type(data).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")


def _warn(nothing_learnt: str | None) -> None:
    """Warn with the caller's line if nothing was learned."""
    if nothing_learnt:
        warnings.warn(nothing_learnt, NothingLearntWarning, stacklevel=3)
