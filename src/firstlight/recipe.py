"""A recipe: one frozen value with every setting of a training run.

It consists of parts: a network, augmentations, an optimizer, a schedule, and the training settings.
It is read from TOML and saved in the run folder. Unknown keys, wrong types and invalid values are
refused by name, with the nearest valid ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from firstlight import legacy
from firstlight.augment import AUGMENTATIONS, Augmentation
from firstlight.augment.mixing import Mix
from firstlight.checked import Checked, choice, nearest, number, typed
from firstlight.errors import UserError
from firstlight.layers import LAYERS
from firstlight.layers.network import Network, as_network
from firstlight.layers.own_code import OwnCode, code_of_table
from firstlight.layers.sequence import written_out
from firstlight.optimizers import OPTIMIZERS, Adam, Optimizer
from firstlight.parts import (
    Part,
    part_named,
    part_of,
    parts_of,
    plain_value,
    require_known,
    value_of,
    values_of,
)
from firstlight.plain import read_toml, shown
from firstlight.reads import idle, why_unread
from firstlight.schedules import SCHEDULES, Constant, Schedule
from firstlight.toml_text import toml_text, toml_value

_Choice = TypeVar("_Choice", bound=Checked)
_Kind = TypeVar("_Kind", bound=Part)
FORMAT = 2
MOST_EPOCHS = 100_000.0
MOST_LISTED = 12
"""Most parts of a list that an error names."""
OWN_NETWORK = "own-network"
"""Name of the recipe for a network that has none."""
LEAST_MICRO_BATCH = 3
"""Batch norm needs two images: with parts of two, a batch of three would leave one alone."""


@dataclass(frozen=True, kw_only=True)
class TrainChoice(Checked):
    """Length, batches and monitoring of training."""

    epochs: float = number(5.0, least=0.0, most=MOST_EPOCHS)
    """Passes over the training images, or over ``epoch_share`` of them; the last may be partial. 0,
    with ``start_head``, only fits the last layer."""
    replanned: tuple[tuple[float, float], ...] = ()
    """Changes of ``epochs`` by a budget during training: pairs of the epoch of the change and the
    previous value. Up to a change, the schedule follows the previous value; the rest is spread
    evenly."""
    epoch_share: float = number(1.0, least=0.0, most=1.0, above=True)
    """Share of the training images in one epoch. Below 1, half of them are those with the largest
    loss when last trained on, of any class; the others are random (``training/selection.py``).
    Images with wrong labels are then also trained on more often."""
    small_share: float = number(0.0, least=0.0, most=0.9)
    """The first share of the schedule, whose steps shrink images to three quarters of their sides,
    for little more than half the work (progressive resizing; Tan and Le 2021, section 4).
    Prediction always uses whole images, and patience starts with the first epoch that trains only
    on whole images. With epoch_share, the loss of an image may come from its shrunk version."""
    batch_size: int = number(32, least=1, most=65536)
    """Images per step; the last step of an epoch takes the rest."""
    micro_batch_size: int = number(0, least=0, most=65536)
    """Most images that pass through the network at once; 0 for the whole batch. The gradients of a
    batch's parts are added up (gradient accumulation): memory for maps depends on the part, the
    step on the batch. Batch norm sees one part at a time (Hoffer et al. 2017, algorithm 1)."""
    shards: int = number(0, least=0, most=4096)
    """Parts of a batch that are divided equally among several processes; 0 keeps the batch whole.
    With the same shards, a run has the same bits on any number of processes that divides them.
    Batch norm sees one shard at a time, and each shard draws its own dropout."""
    clip_norm: float = number(0.0, least=0.0, most=1e6)
    """Gradient clipping: if the norm of a batch's gradients, over all weights, is larger, they are
    scaled down to it (Pascanu et al. 2013, algorithm 1). 0 for none."""
    validation: str = choice("held-out", "held-out", "test", "none")
    """Images to measure after each epoch. ``test`` is what the tutorial uses; nothing is selected
    by it."""
    held_out_fraction: float = number(0.1, least=0.001, most=0.9)
    """Share of the training images to hold out, with validation = "held-out"."""
    patience: int = number(0, least=0, most=100_000)
    """Early stopping: stop after this many epochs without a lower loss on the held-out images, and
    keep the weights of the best epoch. 0 trains to the end and keeps the last weights."""
    average_decay: float = number(0.0, least=0.0, most=0.999999)
    """Decay of the running average of the weights, which is then measured and saved; 0 uses the
    last weights."""
    precision: str = choice("float32", "float32", "mixed")
    """Precision of training. ``mixed`` uses bfloat16 for convolutions and matrix products on
    devices that support it, and float32 elsewhere. Held-out images are also measured that way after
    all epochs but the last, unless patience compares them. Evaluation and prediction always use
    float32."""
    label_smoothing: float = number(0.0, least=0.0, most=0.99)
    """Share of the target that is spread evenly over all classes (Szegedy et al. 2016, section
    7)."""
    class_weights: str = choice("none", "none", "balanced")
    """``balanced``: an image's loss is weighted inversely to the number of training images in its
    class, with mean 1."""
    start_from: str = ""
    """A run folder whose weights are used, except for the last layer's; empty for random
    weights."""
    start_head: str = choice("random", "random", "linear")
    """With start_from: the initial weights of the last layer. ``linear`` fits them to the features
    of the layers before it by logistic regression, whose penalty is chosen on held-out images
    (linear probing, then fine-tuning; Kumar et al. 2022, section 4). With patience these weights
    are kept unless an epoch is better."""
    start_norm: str = choice("learned", "learned", "kept")
    """With start_from: whether batch norm learns from the means and deviations of batches, or keeps
    its own (``kept``), because few pictures give poor estimates."""
    start_weights: str = ""
    """SHA-256 of the initial weights, if they came with a module passed as ``network``; empty for
    weights from the seed."""
    start_rate: float = number(0.1, least=0.0, most=1.0, above=True)
    """With start_from: the first layer's learning rate as a share of the last layer's. Those
    between are spaced evenly on a log scale (discriminative rates, Howard & Ruder 2018, section
    3.2)."""
    seed: int = number(0, least=0, most=2**31 - 1)
    """Determines weights, order, augmentation and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs == 0 and self.start_head != "linear":
            raise UserError(
                "epochs must be above 0, not 0. Only a run that fits the last layer may have 0, "
                'with start_from and start_head = "linear"'
            )
        if self.patience > 0 and self.validation != "held-out":
            raise UserError(
                'patience needs validation="held-out": the test set must not decide when to stop'
            )
        before, lengths = 0.0, (*(planned for _, planned in self.replanned), self.epochs)
        for (turn, planned), then in zip(self.replanned, lengths[1:], strict=True):
            if not before < turn < min(planned, then) or planned > MOST_EPOCHS:
                raise UserError(
                    f"replanned says that after {turn:g} epochs the plan changed from "
                    f"{planned:g} epochs to {then:g}, which is impossible: the change must come "
                    f"before both ends and after {before:g}, and no end may be above "
                    f"{MOST_EPOCHS:g}. Leave replanned out for a run of fixed length"
                )
            before = turn
        if self.shards and self.micro_batch_size:
            raise UserError("shards and micro_batch_size both split a batch; set one of them to 0")
        if self.shards > self.batch_size:
            raise UserError(
                f"shards must be at most batch_size, {self.batch_size}, got {self.shards}"
            )
        if 0 < self.micro_batch_size < LEAST_MICRO_BATCH:
            raise UserError(
                f"micro_batch_size must be 0 (the whole batch) or at least {LEAST_MICRO_BATCH}, "
                f"got {self.micro_batch_size}"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe(Checked):
    """Every setting of a run. Use ``with_settings`` to change settings by name."""

    example: ClassVar[str] = 'Recipe(name="mine")'

    name: str
    """Name of the recipe, and of its run folders."""
    description: str = ""
    """A one-line summary."""
    network: Network = field(default_factory=Network)
    augment: tuple[Augmentation, ...] = ()
    """Random changes of each training image, in order, drawn again each time it is seen."""
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Constant)
    train: TrainChoice = TrainChoice()

    def __post_init__(self) -> None:
        for label in ("name", "description"):
            typed(getattr(self, label), str, label=label)
        if not re.fullmatch(r"\w[\w.-]{0,99}", self.name):
            raise UserError(
                "name must be letters, digits, dots, dashes and underscores, because it names "
                f"the run folder, got {shown(self.name)}"
            )
        for label, parts, table in (
            ("layers.LAYERS", written_out(self.network.layers), LAYERS),
            ("augment.AUGMENTATIONS", self.augment, AUGMENTATIONS),
            ("optimizers.OPTIMIZERS", (self.optimizer,), OPTIMIZERS),
            ("schedules.SCHEDULES", (self.schedule,), SCHEDULES),
        ):
            require_known(parts, table, label)
        mixes = [i for i, one in enumerate(self.augment) if isinstance(one, Mix)]
        if mixes and mixes != [len(self.augment) - 1]:
            raise UserError(
                "use only one of mixup and cutmix, as the last augmentation: it also mixes the "
                "labels"
            )
        if self.train.small_share > 0 and not self.network.any_size:
            raise UserError(
                "train.small_share needs a list of layers that takes images of any size: "
                "replace flatten by global-max-pool or global-average-pool, or set it to 0"
            )
        if self.train.epoch_share < 1 and mixes:
            raise UserError(
                "train.epoch_share below 1 does not work with mixup and cutmix: the loss of a "
                "mixed image does not tell which image is hard"
            )

    @property
    def mix(self) -> Mix | None:
        """How images are mixed in pairs, if at all."""
        last = self.augment[-1] if self.augment else None
        return last if isinstance(last, Mix) else None

    def with_parts(self, **parts: Any) -> "Recipe":
        """Return a new recipe with these parts replaced by values; ``network`` may be a list of
        layers or code, and ``augment`` a list. Raises ``UserError`` for invalid parts."""
        if "network" in parts:
            parts["network"] = as_network(parts["network"], self.network)
        if "augment" in parts:
            parts["augment"] = values_of(
                parts["augment"],
                Augmentation,
                label="augment",
                word="augmentation",
                example="fl.augment.Rotate(10)",
            )
        if "optimizer" in parts:
            parts["optimizer"] = value_of(
                parts["optimizer"],
                OPTIMIZERS,
                Optimizer,  # type: ignore[type-abstract]
                label="optimizer",
                example="Adam(1e-3)",
            )
        if "schedule" in parts:
            parts["schedule"] = value_of(
                parts["schedule"],
                SCHEDULES,
                Schedule,  # type: ignore[type-abstract]
                label="schedule",
                example="OneCycle()",
            )
        return replace(self, **parts)

    def to_table(self) -> dict[str, Any]:
        """Return the recipe as plain TOML values."""
        return {
            "name": self.name,
            "format": FORMAT,
            "description": self.description,
            "network": self.network.to_table(),
            "augment": plain_value(self.augment),
            "optimizer": self.optimizer.to_named_table(),
            "schedule": self.schedule.to_named_table(),
            "train": {name: plain_value(value) for name, value in asdict(self.train).items()},
        }

    def to_toml(self) -> str:
        """Return TOML text that ``parse_recipe`` reads as an equal recipe."""
        return toml_text(self.to_table())

    def settings(self) -> dict[str, str]:
        """Return every setting by key, as TOML text; layers and augmentations by number."""
        found: dict[str, str] = {}
        for section, values in self.to_table().items():
            if section == "augment":
                found |= {f"augment.{i}": toml_value(v) for i, v in enumerate(values, start=1)}
            elif isinstance(values, dict):
                layers = values.pop("layers", [])
                found |= {f"{section}.{key}": toml_value(v) for key, v in values.items()}
                found |= {f"{section}.{i}": toml_value(v) for i, v in enumerate(layers, start=1)}
            else:
                found[section] = toml_value(values)
        return found

    def with_settings(
        self, settings: "Sequence[str | Setting]", *, source: str = "--set"
    ) -> "Recipe":
        """Return a new recipe with each ``section.key=value`` changed; values are written as in
        TOML.

        ``network.3.filters=64`` changes a setting of the third layer, and
        ``network.4.2.filters=64`` one of the second layer inside the fourth.
        ``augment.1.degrees=5`` changes one of the first augmentation, and ``augment=[{ rotate = 10
        }]`` the whole list. A new ``optimizer.name`` or ``schedule.name`` starts with its own
        defaults. ``source`` begins the error messages of settings without a source of their own.
        All settings are applied together, because two may fit only in combination; of one source,
        the last value of a key counts. A key that the new recipe does not use is refused, and so is
        one that two sources set differently.
        """
        given = [one if isinstance(one, Setting) else Setting(one, source) for one in settings]
        table, asked = self.to_table(), dict[str, tuple[str, Any]]()
        for setting in given:
            keys, value = _parse_setting(setting.text, setting.source)
            _refuse_other(asked, ".".join(keys), setting.source, value)
            _put(table, keys, value, f"{setting.source} {setting.text}")
        if "train.epochs" in asked and "train.replanned" not in asked:
            table["train"]["replanned"] = []  # it belongs to other epochs
        try:
            changed = recipe_of(table, source="")
            why = why_unread(changed, asked)
        except UserError as error:
            changed, why = self, str(error).removeprefix(": ")
        if why:
            raise UserError(f"{_source_of(why, given) or source}: {why}")
        return changed.with_code(self.network.code)

    def with_code(self, code: OwnCode | None) -> "Recipe":
        """Return the recipe with its code attached, if ``code`` is the code that it records."""
        if code is None or code != self.network.code:
            return self
        return replace(self, network=replace(self.network, code=code))


class Setting(NamedTuple):
    """A change of one setting of a recipe, from an option or an argument."""

    text: str
    """``section.key=value``"""
    source: str
    """The user's name for it, which begins every message about it."""
    asked: bool = True
    """Whether it comes from this call, and not from the environment or from firstlight itself."""


def setting_key(setting: str | Setting) -> str:
    """Return ``section.key`` of a setting."""
    text = setting.text if isinstance(setting, Setting) else setting
    return text.partition("=")[0].strip()


def _source_of(why: str, settings: Sequence[Setting]) -> str:
    """Return the source of the setting that a message is about, or else of all of them."""
    about = [one.source for one in settings if why.startswith(setting_key(one))]
    return about[-1] if about else ", ".join(dict.fromkeys(one.source for one in settings))


def refuse_settings(settings: Sequence[str | Setting], keys: Sequence[str], why: str) -> None:
    """Raise ``UserError`` if a setting changes a key that something else determines."""
    for setting in settings:
        if (key := setting_key(setting)) in keys:
            text = setting.text if isinstance(setting, Setting) else setting
            raise UserError(f"{text}: {why}; leave {key} out")


def refuse_idle(
    recipe: Recipe, settings: Sequence[str | Setting], source: str, *, parts: Sequence[str] = ()
) -> None:
    """Raise ``UserError`` if a setting or replaced part has no effect, because no epoch follows a
    fitted last layer. ``source`` belongs to those without their own."""
    given = [one if isinstance(one, Setting) else Setting(one, source) for one in settings]
    asked = {part: source for part in parts if part != "network"}
    asked |= {setting_key(one): one.source for one in given if one.asked}
    # Unless patience is set to 0, only held-out images can be measured.
    keys = [key for key in asked if key != "train.patience" or "train.validation" not in asked]
    for key in idle(recipe, keys):
        raise UserError(
            f"{asked[key]}: {key} does nothing here: train.epochs is 0, so only the last layer "
            f"is fitted. Leave {key} out, or set epochs above 0"
        )


def recipe_names() -> list[str]:
    """Return the named recipes, sorted."""
    folder = resources.files("firstlight.recipes")
    return sorted(p.name[: -len(".toml")] for p in folder.iterdir() if p.name.endswith(".toml"))


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Load a named recipe, or one from a TOML file. Raises ``UserError`` if there is none."""
    text = str(name_or_file)
    if text in recipe_names():
        resource = resources.files("firstlight.recipes") / f"{text}.toml"
        return parse_recipe(resource.read_text(encoding="utf-8"), source=f"{text}.toml")
    path = Path(name_or_file)
    if not _is_file(path):
        raise UserError(f"{text!r} is not a recipe or a file; {nearest(text, recipe_names())}")
    try:
        return parse_recipe(path.read_text(encoding="utf-8-sig"), source=str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a TOML recipe: the file is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a parent folder is not searchable
        return False


def parse_recipe(text: str, *, source: str) -> Recipe:
    """Parse a recipe from TOML text; ``source`` begins every error message."""
    try:
        values = read_toml(text)
    except ValueError as error:  # also raised for numbers with thousands of digits
        raise UserError(f"{source}: not valid TOML: {error}") from error
    if "name" not in values:
        raise UserError(f'{source}: a recipe needs a name, such as name = "my-recipe"')
    return recipe_of(values, source=source)


def recipe_of(table: Mapping[str, Any], *, source: str) -> Recipe:
    """Return a recipe from its table, in this format or an older one."""
    written = table.get("format", 1 if "model" in table else FORMAT)
    if isinstance(written, bool) or not isinstance(written, int):
        raise UserError(
            f"{source}: format must be a whole number, such as format = {FORMAT}, not "
            f"{shown(written)}"
        )
    if written not in (1, FORMAT):
        raise UserError(
            f"{source}: this recipe has format {written!r}, but this firstlight reads 1 to "
            f"{FORMAT}. Use a newer version"
        )
    try:
        return _recipe(legacy.recipe_table(table) if written == 1 else table)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _recipe(table: Mapping[str, Any]) -> Recipe:
    known = ("format", *(spec.name for spec in fields(Recipe)))
    for key in table:
        if key not in known:
            hint = _meant(key) or _RENAMED.get(key) or nearest(key, known, what="the keys are")
            raise UserError(f"unknown key {key}; {hint}")
    built: dict[str, Any] = {k: table[k] for k in ("name", "description") if k in table}
    if "network" in table:
        built["network"] = network_of(table["network"])
    if "augment" in table:
        built["augment"] = parts_of(table["augment"], AUGMENTATIONS, label="augment")
    if "optimizer" in table:
        built["optimizer"] = _named(table, "optimizer", OPTIMIZERS)
    if "schedule" in table:
        built["schedule"] = _named(table, "schedule", SCHEDULES)
    if "train" in table:
        built["train"] = _checked(TrainChoice, table["train"], "train")
    return Recipe(**built)


def _named(table: Mapping[str, Any], section: str, kinds: Mapping[str, type[_Kind]]) -> _Kind:
    return part_named(table[section], kinds, label=section, meant=lambda key: _meant(key, section))


def network_of(table: Any) -> Network:
    """Return a network from its table. Raises ``UserError`` if it is not valid."""
    if isinstance(table, Mapping) and "layers" in table:
        table = {**table, "layers": parts_of(table["layers"], LAYERS, label="layer")}
    if isinstance(table, Mapping) and "code" in table:
        table = {**table, "code": code_of_table(table["code"])}
    return _checked(Network, table, "network")


def _checked(kind: type[_Choice], table: Any, label: str) -> _Choice:
    """Return the settings of a table whose keys must all be fields of ``kind``."""
    if not isinstance(table, Mapping):
        raise UserError(f"{label} must be a table, [{label}], not {table!r}")
    names = [spec.name for spec in fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in names:
            hint = _meant(key) or nearest(key, names, what="the keys are", prefix=f"{label}.")
            raise UserError(f"unknown key {label}.{key}; {hint}")
    try:
        return kind(**table)
    except UserError as error:
        raise UserError(f"{label}.{error}") from None


_ENVIRONMENT = "FIRSTLIGHT_"
"""Prefix of environment variables. They apply to all calls, and other sources override them."""


def _refuse_other(asked: dict[str, tuple[str, Any]], key: str, source: str, value: Any) -> None:
    """Record what a source says about a key. Raises ``UserError`` if another source contradicts
    it."""
    before, said = asked.get(key, (source, value))
    if before != source and said != value and not before.startswith(_ENVIRONMENT):
        raise UserError(
            f"{key} is given twice: {shown(said)} by {before}, {shown(value)} by {source}; leave "
            "one out"
        )
    asked[key] = source, value


def _parse_setting(setting: str, source: str) -> tuple[list[str], Any]:
    """Return keys and value of ``section.key=value``."""
    key, equals, text = setting.partition("=")
    keys = [word.strip() for word in key.split(".")]
    sections = [spec.name for spec in fields(Recipe)][2:]
    if not equals or not all(keys) or (len(keys) < 2 and keys != ["augment"]):
        raise UserError(
            f"{source}: wanted section.key=value, such as train.epochs=3, got "
            f"{setting!r}{f'; {meant}' if (meant := _meant(key.strip())) else ''}"
        )
    if keys[0] not in sections:
        hint = _RENAMED.get(keys[0]) or nearest(keys[0], sections)
        raise UserError(f"{source} {setting}: no section {keys[0]!r}; {hint}")
    try:
        value = read_toml(f"value = {text}")["value"]
    except ValueError:
        value = text.strip()  # a bare word is a string, so that no shell quoting is needed
    return keys, value


_RENAMED = {
    "model": (
        "the network is now a list of layers: network.3.filters=64 changes the third. To see "
        "them: firstlight recipe show NAME"
    )
}


def _put(table: dict[str, Any], keys: Sequence[str], value: Any, label: str) -> None:
    """Set a value in a recipe's table. Raises ``UserError`` if the key does not exist."""
    section, *rest = keys
    if not rest:
        table[section] = value
        return
    if section in ("optimizer", "schedule") and rest == ["name"]:
        if table[section]["name"] != value:
            table[section] = {"name": value}
        return
    if section in ("network", "augment") and (rest[0].isdecimal() or section == "augment"):
        if section == "network" and "layers" not in table["network"]:
            raise UserError(
                f"{label}: the network is code, so its layers cannot be changed by number"
            )
        parts = table["network"]["layers"] if section == "network" else table["augment"]
        _put_in_list(parts, rest, value, label, section)
        return
    if len(rest) > 1:
        raise UserError(f"{label}: wanted {section}.key=value, with one key after the section")
    table[section][rest[0]] = value


def _put_in_list(parts: Any, rest: Sequence[str], value: Any, label: str, place: str) -> None:
    """Set a setting of a part in a list, at any depth; ``place`` is the list's key, such as
    ``network.4``. Raises ``UserError`` if there is no such part."""
    number, *further = rest
    if not number.isdecimal() or not further:
        whole = "augment" if place.startswith("augment") else "network.layers"
        raise UserError(
            f"{label}: wanted a number and one option, such as {place}.1.…, or the whole list, "
            f"{whole}=[…]"
        )
    if not isinstance(parts, list) or len(number) > 9 or not 1 <= int(number) <= len(parts):
        raise UserError(f"{label}: no number {number}; the list has {_listed(parts, place)}")
    part, here = parts[int(number) - 1], f"{place}.{number}"
    inside = part if isinstance(part, list) else _inside(part)
    if isinstance(part, list) or further[0].isdecimal() or len(further) > 1:
        if inside is None:
            raise UserError(
                f"{label}: {here} is {_word(part)}, which has no inner layers. Write one option "
                "after its number"
            )
        _put_in_list(inside, further, value, label, here)
        return
    kind = type(part_of(part, _kinds(), label=label))
    part[kind.kind if further[0] == kind.main else further[0]] = value


def _inside(part: Any) -> list[Any] | None:
    """Return the list of parts inside a part's table, or of lists of them; None if it has none."""
    values = part.values() if isinstance(part, Mapping) else ()
    lists = (one for one in values if isinstance(one, list))
    return next((one for one in lists if any(isinstance(v, Mapping | list) for v in one)), None)


def _listed(parts: Any, place: str) -> str:
    """Say how many parts a list has, and name the first ones."""
    if not isinstance(parts, list) or not parts:
        return "none"
    names = [f"{place}.{n} ({_word(one)})" for n, one in enumerate(parts[:MOST_LISTED], start=1)]
    more = ", …" if len(parts) > MOST_LISTED else ""
    once = "; repeated layers are counted once" if "." in place else ""
    return f"{len(parts)}: {', '.join(names)}{more}{once}"


def _word(part: Any) -> str:
    """Return the name of a part in a list, as in its table."""
    if isinstance(part, list):
        return "a branch"
    return next((key for key in part if key in _kinds()), "unknown")


def _kinds() -> dict[str, Any]:
    """Return the kinds of parts that a list may contain, including those added from outside."""
    return {**LAYERS, **AUGMENTATIONS}


def _meant(key: str, here: str = "") -> str:
    """Ask whether another section's key was meant, if one has this name."""
    name = key.lower().replace("-", "_")
    name = {"lr": "learning_rate", "batch": "batch_size"}.get(name, name)
    kinds: dict[str, Sequence[Any]] = {
        "network": (Network,),
        "optimizer": tuple(OPTIMIZERS.values()),
        "schedule": tuple(SCHEDULES.values()),
        "train": (TrainChoice,),
    }
    homes = [
        f"{section}.{name}"
        for section, some in kinds.items()
        if section != here and any(name == spec.name for kind in some for spec in fields(kind))
    ]
    return f"did you mean {' or '.join(homes)}?" if homes else ""
