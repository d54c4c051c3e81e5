"""A recipe: one frozen value that holds every choice of a training run.

It is read from TOML and written back into the run folder. Unknown keys, wrong types and impossible
values are refused by name, with the nearest valid ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from firstlight.checked import Checked, choice, nearest, number, typed
from firstlight.errors import UserError
from firstlight.plain import read_toml, shown
from firstlight.reads import why_unread

_Table = TypeVar("_Table")
MOST_EPOCHS = 100_000.0
MOST_WIDTHS = 16
"""Convolutions or groups in a row: images of 4,096 pixels can be halved twelve times."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice(Checked):
    """Which network, and how wide."""

    name: str = choice("tutorial", "tutorial", "whitened")
    """A network of the catalogue."""
    widths: tuple[int, ...] = number((32, 64), least=1, most=4096)
    """Output channels of each convolution (tutorial) or group (whitened)."""
    first_kernel: int = number(3, least=1, most=11)
    """Side of the first convolution's filters; the others are 3×3."""
    first_stride: int = number(1, least=1, most=4)
    """Step of the first convolution (whitened)."""
    first_filters: int = number(24, least=2, most=1024)
    """Filters of the first convolution, half of them the others with the other sign (whitened)."""
    first_bias: bool = False
    """Whether the first convolution's bias is trained; its filters are not (whitened)."""
    activation: str = choice("gelu", "gelu", "relu")
    """What follows each batch norm (whitened)."""
    pool_last: bool = True
    """Whether the last convolution is followed by a max-pool, 2×2 as the earlier ones are
    (tutorial), or the last layer sees the largest value of each map (whitened). With false, a
    whitened network's last layer sees every place of the last maps."""
    dense: int = number(64, least=1, most=65536)
    """Units of the dense layer before the last (tutorial)."""
    dropout: float = number(0.0, least=0.0, most=0.95)
    """Share of the last layer's inputs set to zero in training."""
    logit_scale: float = number(0.01, least=0.0, most=100.0, above=True)
    """The logits are multiplied by this (whitened)."""
    views: str = choice("one", "one", "shift", "mirror", "mirror-and-shift")
    """What an answer is averaged over: the image; with it, itself shifted by one pixel to each
    side; its mirror image; or that and both shifted by one pixel to either corner (whitened)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) > MOST_WIDTHS:
            raise UserError(f"widths must be at most {MOST_WIDTHS}, not {len(self.widths)}")

    @property
    def any_size(self) -> bool:
        """Whether the network takes images of any size, and not of one alone."""
        return self.name == "whitened" and self.pool_last


@dataclass(frozen=True, kw_only=True)
class AugmentChoice(Checked):
    """What happens to each training image, anew each time it is seen."""

    enabled: bool = False
    """The one switch."""
    rotation_degrees: float = number(10.0, least=0.0, most=180.0)
    """Largest turn to either side."""
    shift_fraction: float = number(0.1, least=0.0, most=1.0)
    """Largest shift up, down, left and right, as a share of the image's side."""
    flip: bool = False
    """Mirror left to right with probability one half. Not for digits and letters."""
    alternate_flips: bool = False
    """With flip: each image is mirrored in every other epoch instead (Jordan 2024, section 3.6)."""
    cutout_pixels: int = number(0, least=0, most=512)
    """Side of a square set to zero in each image; 0 for none."""
    mix: str = choice("none", "none", "mixup", "cutmix")
    """How images are mixed in pairs."""
    mix_alpha: float = number(1.0, least=0.01, most=1.0)
    """α of the Beta(α, α) that the shares of a pair are drawn from."""
    shift_pixels: int = number(0, least=0, most=64)
    """Largest shift by whole pixels, reflected at the edge. Cheaper than shift_fraction, which
    with rotation_degrees must then be 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        turned = self.rotation_degrees > 0 or self.shift_fraction > 0
        if turned and (self.shift_pixels > 0 or self.alternate_flips):
            what = "shift_pixels" if self.shift_pixels > 0 else "alternate_flips"
            raise UserError(f"{what} needs rotation_degrees=0 and shift_fraction=0 beside it")
        if self.alternate_flips and not self.flip:
            raise UserError("alternate_flips needs flip=true beside it")


@dataclass(frozen=True, kw_only=True)
class OptimizerChoice(Checked):
    """How the weights follow the gradient."""

    name: str = choice("adam", "adam", "muon")
    """``adam``: Kingma and Ba 2015, algorithm 1. ``muon``: Jordan 2024 for convolutions, and SGD
    with Nesterov momentum for the rest."""
    learning_rate: float = number(1e-3, least=0.0, most=100.0, above=True)
    """The largest of the run."""
    betas: tuple[float, float] = number((0.9, 0.999), least=0.0, most=0.999999)
    """Decay of the running mean of the gradient and of its square, per step."""
    epsilon: float = number(1e-7, least=0.0, most=1.0, above=True)
    """Added to the root of the second moment (adam)."""
    momentum: float = number(0.6, least=0.0, most=0.999)
    """Of the convolutions' filters (muon)."""
    head_learning_rate: float = number(0.67, least=0.0, most=1e4, above=True)
    """Of the last layer, for the loss summed over a batch (muon)."""
    bias_learning_rate: float = number(0.053, least=0.0, most=1e4, above=True)
    """Of biases, for the loss summed over a batch (muon)."""
    weight_decay: float = number(2e-6, least=0.0, most=1.0)
    """Share of the last layer and the biases taken away for each image seen (muon)."""


@dataclass(frozen=True, kw_only=True)
class ScheduleChoice(Checked):
    """How the learning rate moves over the run."""

    name: str = choice("constant", "constant", "one-cycle")
    """``constant``, or ``one-cycle``: linear up to the peak, then linear down."""
    warmup_fraction: float = number(0.25, least=0.0, most=1.0)
    """Share of all steps until the peak (one-cycle)."""
    start_fraction: float = number(0.1, least=0.0, most=1.0)
    """First learning rate, as a share of the peak (one-cycle)."""
    final_fraction: float = number(0.0, least=0.0, most=1.0)
    """Last learning rate, as a share of the peak (one-cycle)."""


LEAST_MICRO_BATCH = 3
"""Batch norm needs two images; in parts of two, a batch of three would leave one alone."""


@dataclass(frozen=True, kw_only=True)
class TrainChoice(Checked):
    """How long, in what portions, and watched by what."""

    epochs: float = number(5.0, least=0.0, most=MOST_EPOCHS, above=True)
    """Passes over the training images, or over ``epoch_share`` of them; the last may be a part of
    one."""
    replanned: tuple[tuple[float, float], ...] = ()
    """Where a budget changed ``epochs`` on the way: pairs of the epoch at which and of what it was
    until then. The schedule's first part is that of a run of so many, the rest is spread evenly."""
    epoch_share: float = number(1.0, least=0.0, most=1.0, above=True)
    """Share of the training images in one epoch. Below 1, half of them are those with the largest
    loss when last trained on, whatever their class, and the others random
    (``training/selection.py``). Images with wrong labels are then trained on more often too."""
    small_share: float = number(0.0, least=0.0, most=0.9)
    """Share of the schedule, its first part, whose steps see images of three quarters of their
    sides, little more than half the work (progressive resizing; Tan and Le 2021, section 4). All
    answers are of whole images, and patience begins with the first epoch that trains on them
    alone. With epoch_share an image that was small when last trained on is as hard as its loss was
    then."""
    batch_size: int = number(32, least=1, most=65536)
    """Images a step; the last step of an epoch takes what is left."""
    micro_batch_size: int = number(0, least=0, most=65536)
    """Images that pass through the network at once, at most; 0 for the whole batch. The gradients
    of a batch's parts are added up: the memory of the network's maps goes with the parts, the step
    with the batch. Batch norm sees one part at a time (Hoffer et al. 2017, algorithm 1)."""
    validation: str = choice("held-out", "held-out", "test", "none")
    """What is measured after each epoch. ``test`` is what the tutorial does; nothing is chosen
    by it."""
    held_out_fraction: float = number(0.1, least=0.001, most=0.9)
    """Share of the training images held out, with validation = "held-out"."""
    patience: int = number(0, least=0, most=100_000)
    """Stop after so many epochs without a smaller loss on the held-out images, and keep the
    weights of the best epoch; 0 to train to the end and keep the last."""
    average_decay: float = number(0.0, least=0.0, most=0.999999)
    """Of the running mean of the weights, which is what is measured and kept; 0 for the last
    weights as they are."""
    precision: str = choice("float32", "float32", "mixed")
    """Of training: ``mixed`` takes bfloat16 for convolutions and matrix products on a device that
    computes in it, and float32 elsewhere. Held-out images are answered so too after all epochs but
    the last, unless patience compares them; evaluation and prediction are always in float32."""
    label_smoothing: float = number(0.0, least=0.0, most=0.99)
    """Share of the target spread evenly over all classes (Szegedy et al. 2016, section 7)."""
    class_weights: str = choice("none", "none", "balanced")
    """``balanced``: the loss of an image counts inversely to the number of training images of its
    class, 1 on average."""
    start_from: str = ""
    """A run folder whose weights are taken over, all but the last layer's; empty for fresh ones."""
    start_rate: float = number(0.1, least=0.0, most=1.0, above=True)
    """With start_from: the first layer's learning rate as a share of the last one's; those between
    lie evenly on a log scale (discriminative rates, Howard & Ruder 2018, section 3.2)."""
    seed: int = number(0, least=0, most=2**31 - 1)
    """Decides weights, order, augmentation and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience > 0 and self.validation != "held-out":
            raise UserError(
                'patience needs validation="held-out" beside it: the test set chooses nothing'
            )
        before, lengths = 0.0, (*(planned for _, planned in self.replanned), self.epochs)
        for (turn, planned), then in zip(self.replanned, lengths[1:], strict=True):
            if not before < turn < min(planned, then) or planned > MOST_EPOCHS:
                raise UserError(
                    f"replanned cannot say that after {turn:g} epochs {then:g} were planned in "
                    f"place of {planned:g}: that must lie before both ends and after {before:g}, "
                    f"and no end after {MOST_EPOCHS:g}; leave replanned out for a run of one length"
                )
            before = turn
        if 0 < self.micro_batch_size < LEAST_MICRO_BATCH:
            raise UserError(
                "micro_batch_size must be 0, for the whole batch, or at least "
                f"{LEAST_MICRO_BATCH}, not {self.micro_batch_size}"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every choice of a run. ``replace``-like changes go through ``with_settings``."""

    name: str
    """Names the run folder."""
    description: str = ""
    """One line for people."""
    model: ModelChoice = ModelChoice()
    augment: AugmentChoice = AugmentChoice()
    optimizer: OptimizerChoice = OptimizerChoice()
    schedule: ScheduleChoice = ScheduleChoice()
    train: TrainChoice = TrainChoice()

    def __post_init__(self) -> None:
        for label in ("name", "description"):
            typed(getattr(self, label), str, label=label)
        if not re.fullmatch(r"\w[\w.-]{0,99}", self.name):
            raise UserError(
                "name must be letters, digits, dots, dashes and underscores, as it names the run "
                f"folder, not {shown(self.name)}"
            )
        if self.train.small_share > 0 and not self.model.any_size:
            raise UserError(
                'train.small_share needs model.name="whitened" and model.pool_last=true beside it: '
                "other networks take images of one size alone; set it to 0"
            )
        if self.train.epoch_share < 1 and self.augment.mix != "none":
            raise UserError(
                'train.epoch_share below 1 needs augment.mix="none" beside it: the loss of a mixed '
                "image does not tell which is hard"
            )

    def to_toml(self) -> str:
        """TOML text that ``parse_recipe`` reads back to an equal recipe."""
        import tomli_w

        return tomli_w.dumps(asdict(self))

    def with_settings(self, settings: Sequence[str], *, source: str = "--set") -> "Recipe":
        """A new recipe with each ``section.key=value`` changed; the value is written as in TOML.

        ``source`` opens every error message. A key that the new recipe does not read is refused.
        """
        changes: dict[str, dict[str, Any]] = {}
        for setting in settings:
            section, name, value = _parse_setting(setting, source)
            changes.setdefault(section, {})[name] = value
        asked = {section: tuple(values) for section, values in changes.items()}
        built = {}
        for section, values in changes.items():  # at once: some settings need one another
            if section == "train" and "epochs" in values:
                values.setdefault("replanned", ())  # is of other epochs
            table = getattr(self, section)
            merged = {**asdict(table), **values}
            built[section] = _from_table(type(table), merged, source=source, prefix=f"{section}.")
        changed = replace(self, **built)
        keys = (f"{section}.{name}" for section, values in asked.items() for name in values)
        if why := why_unread(changed, keys):
            raise UserError(f"{source}: {why}")
        return changed


def refuse_settings(settings: Sequence[str], keys: Sequence[str], why: str) -> None:
    """Raise ``UserError`` where one of the settings is of a key that something else decides."""
    for setting in settings:
        if (key := setting.partition("=")[0].strip()) in keys:
            raise UserError(f"{setting}: {why}; leave {key} out")


def recipe_names() -> list[str]:
    """The named recipes, sorted."""
    folder = resources.files("firstlight.recipes")
    return sorted(p.name[: -len(".toml")] for p in folder.iterdir() if p.name.endswith(".toml"))


def load_recipe(name_or_file: str | Path) -> Recipe:
    """A named recipe, or one from a TOML file. Raises ``UserError`` when there is none."""
    text = str(name_or_file)
    if text in recipe_names():
        resource = resources.files("firstlight.recipes") / f"{text}.toml"
        return parse_recipe(resource.read_text(encoding="utf-8"), source=f"{text}.toml")
    path = Path(name_or_file)
    if not _is_file(path):
        raise UserError(
            f"no recipe is called {text!r}, and there is no such file; "
            f"{nearest(text, recipe_names())}"
        )
    try:
        return parse_recipe(path.read_text(encoding="utf-8-sig"), source=str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a TOML recipe, the file is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way that may not be searched
        return False


def parse_recipe(text: str, *, source: str) -> Recipe:
    """A recipe from TOML text; ``source`` opens every error message."""
    try:
        values = read_toml(text)
    except ValueError as error:  # also numbers of thousands of digits
        raise UserError(f"{source}: not valid TOML: {error}") from error
    if "name" not in values:
        raise UserError(f'{source}: a recipe needs a name, such as name = "my-recipe"')
    return _from_table(Recipe, values, source=source, prefix="")


def _parse_setting(setting: str, source: str) -> tuple[str, str, Any]:
    """Section, key and value of ``section.key=value``."""
    key, equals, text = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot:
        raise UserError(
            f"{source} wants section.key=value, such as train.epochs=3, and got {setting!r}"
            f"{f'; {meant}' if (meant := _meant(key.strip())) else ''}"
        )
    sections = [f.name for f in fields(Recipe) if is_dataclass(f.default)]
    if section not in sections:
        raise UserError(f"{source} {setting}: no section {section!r}; {nearest(section, sections)}")
    try:
        value = read_toml(f"value = {text}")["value"]
    except ValueError:
        value = text.strip()  # a bare word is a string, so that no shell quoting is needed
    return section, name, value


def _meant(key: str) -> str:
    """The question whether another section's key is meant, where there is one of this name."""
    name = key.lower().replace("-", "_")
    name = {"lr": "learning_rate", "batch": "batch_size"}.get(name, name)
    homes = [
        f"{section.name}.{name}"
        for section in fields(Recipe)
        if is_dataclass(section.default) and name in {f.name for f in fields(section.default)}
    ]
    return f"did you mean {' or '.join(homes)}?" if homes else ""


def _from_table(
    kind: type[_Table], values: Mapping[str, Any], *, source: str, prefix: str
) -> _Table:
    """Build the dataclass ``kind`` from a TOML table, refusing by name whatever does not fit."""
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            hint = _meant(key) or nearest(key, tuple(hints), what="the keys are", prefix=prefix)
            raise UserError(f"{source}: unknown key {prefix}{key[:100]}; {hint}")
    built: dict[str, Any] = {}
    for spec in fields(kind):  # type: ignore[arg-type]
        if spec.name not in values:
            continue
        label, value, hint = f"{prefix}{spec.name}", values[spec.name], hints[spec.name]
        if is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise UserError(f"{source}: {label} must be a table, [{label}], not {shown(value)}")
            built[spec.name] = _from_table(
                hint,  # type: ignore[arg-type]
                value,
                source=source,
                prefix=f"{label}.",
            )
        else:
            built[spec.name] = value
    try:
        return kind(**built)
    except UserError as error:
        raise UserError(f"{source}: {prefix}{error}") from None
