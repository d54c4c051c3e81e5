"""Convert recipes and networks of format 1 to format 2.

Format 1 was one table of settings for two networks and two optimizers. Nothing writes it any more,
but its recipe files, run folders and weights can still be read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from firstlight.augment import Augmentation, Crop, CutMix, Cutout, Flip, MixUp, Rotate, Shift
from firstlight.checked import Checked, choice, nearest, number
from firstlight.errors import UserError
from firstlight.layers import Whiten
from firstlight.layers.network import Network
from firstlight.layers.networks import tutorial, whitened
from firstlight.parts import plain_value

_Table = TypeVar("_Table", bound=Checked)


@dataclass(frozen=True, kw_only=True)
class _Model(Checked):
    name: str = choice("tutorial", "tutorial", "whitened")
    widths: tuple[int, ...] = number((32, 64), least=1, most=4096)
    first_kernel: int = number(3, least=1, most=11)
    first_stride: int = number(1, least=1, most=4)
    first_filters: int = number(24, least=2, most=1024)
    first_bias: bool = False
    activation: str = choice("gelu", "gelu", "relu")
    pool_last: bool = True
    dense: int = number(64, least=1, most=65536)
    dropout: float = number(0.0, least=0.0, most=0.95)
    logit_scale: float = number(0.01, least=0.0, most=100.0, above=True)
    views: str = choice("one", "one", "shift", "mirror", "mirror-and-shift")


@dataclass(frozen=True, kw_only=True)
class _Augment(Checked):
    enabled: bool = False
    rotation_degrees: float = number(10.0, least=0.0, most=180.0)
    shift_fraction: float = number(0.1, least=0.0, most=1.0)
    flip: bool = False
    alternate_flips: bool = False
    cutout_pixels: int = number(0, least=0, most=512)
    mix: str = choice("none", "none", "mixup", "cutmix")
    mix_alpha: float = number(1.0, least=0.01, most=1.0)
    shift_pixels: int = number(0, least=0, most=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        turned = self.rotation_degrees > 0 or self.shift_fraction > 0
        if turned and (self.shift_pixels > 0 or self.alternate_flips):
            what = "shift_pixels" if self.shift_pixels > 0 else "alternate_flips"
            raise UserError(f"{what} needs rotation_degrees=0 and shift_fraction=0 as well")
        if self.alternate_flips and not self.flip:
            raise UserError("alternate_flips needs flip=true as well")


@dataclass(frozen=True, kw_only=True)
class _Optimizer(Checked):
    name: str = choice("adam", "adam", "muon")
    learning_rate: float = number(1e-3, least=0.0, most=100.0, above=True)
    betas: tuple[float, float] = number((0.9, 0.999), least=0.0, most=0.999999)
    epsilon: float = number(1e-7, least=0.0, most=1.0, above=True)
    momentum: float = number(0.6, least=0.0, most=0.999)
    head_learning_rate: float = number(0.67, least=0.0, most=1e4, above=True)
    bias_learning_rate: float = number(0.053, least=0.0, most=1e4, above=True)
    weight_decay: float = number(2e-6, least=0.0, most=1.0)


@dataclass(frozen=True, kw_only=True)
class _Schedule(Checked):
    name: str = choice("constant", "constant", "one-cycle")
    warmup_fraction: float = number(0.25, least=0.0, most=1.0)
    start_fraction: float = number(0.1, least=0.0, most=1.0)
    final_fraction: float = number(0.0, least=0.0, most=1.0)


_ADAM = ("learning_rate", "betas", "epsilon")
_MUON = ("learning_rate", "momentum", "head_learning_rate", "bias_learning_rate", "weight_decay")


def recipe_table(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe table of format 2, given format 1 or 2. Raises ``UserError`` for anything
    else."""
    table = {k: v for k, v in values.items() if k not in _SECTIONS and k != "format"}
    model, augment, optimizer, schedule = (
        _table(kind, values.get(name, {}), name) for name, kind in _SECTIONS.items()
    )
    assert isinstance(model, _Model) and isinstance(augment, _Augment)
    moving = {name: plain_value(getattr(optimizer, name)) for name in _read_by(optimizer)}
    moved = {"name": schedule.name}  # type: ignore[attr-defined]
    if moved["name"] == "one-cycle":
        moved = asdict(schedule)  # type: ignore[call-overload]
    return {
        **table,
        "format": 2,
        "network": _network(model).to_table(),
        "augment": plain_value(_augmentations(augment)),
        "optimizer": {"name": optimizer.name, **moving},  # type: ignore[attr-defined]
        "schedule": moved,
    }


def network_of(saved: Mapping[str, Any]) -> Network:
    """Return the network of a weights file of format 1."""
    return _network(_table(_Model, saved, "model"))


def layer_names(saved: Mapping[str, Any]) -> dict[str, str]:
    """Map the former names of layers in a weights file of format 1 to the current ones."""
    model = _table(_Model, saved, "model")
    count = len(model.widths)
    if model.name == "tutorial":
        names = {f"convolutions.{i}": f"conv{i + 1}" for i in range(count)}
        return {**names, "hidden": "dense1", "logits": "dense2"}
    names = {"stem": "whiten1", "logits": "dense1"}
    for i in range(count):
        for j, (conv, norm) in enumerate((("widen", "norm1"), ("deepen", "norm2"))):
            names[f"groups.{i}.{conv}"] = f"conv{2 * i + j + 1}"
            names[f"groups.{i}.{norm}"] = f"batch_norm{2 * i + j + 1}"
    return names


def _read_by(optimizer: Checked) -> tuple[str, ...]:
    return _ADAM if optimizer.name == "adam" else _MUON  # type: ignore[attr-defined]


def _network(model: _Model) -> Network:
    if model.name == "tutorial":
        layers = tutorial(
            model.widths,
            dense=model.dense,
            kernel=model.first_kernel,
            pool_last=model.pool_last,
            dropout=model.dropout,
        )
        return Network(layers=layers)
    stem = Whiten(
        model.first_filters,
        kernel=model.first_kernel,
        stride=model.first_stride,
        bias=model.first_bias,
    )
    layers = whitened(
        model.widths,
        stem=stem,
        activation=model.activation,
        pool_last=model.pool_last,
        dropout=model.dropout,
        scale=model.logit_scale,
    )
    return Network(layers=layers, pixels="standardize", views=model.views)


def _augmentations(augment: _Augment) -> list[Augmentation]:
    if not augment.enabled:
        return []
    steps: list[Augmentation] = []
    if augment.rotation_degrees > 0 or augment.shift_fraction > 0:
        steps += [Rotate(augment.rotation_degrees), Shift(augment.shift_fraction)]
    elif augment.shift_pixels > 0:
        steps.append(Crop(augment.shift_pixels))
    if augment.flip:
        steps.append(Flip("alternate" if augment.alternate_flips else "random"))
    if augment.cutout_pixels > 0:
        steps.append(Cutout(augment.cutout_pixels))
    if augment.mix != "none":
        steps.append((MixUp if augment.mix == "mixup" else CutMix)(augment.mix_alpha))
    return steps


_SECTIONS: dict[str, type[Checked]] = {
    "model": _Model,
    "augment": _Augment,
    "optimizer": _Optimizer,
    "schedule": _Schedule,
}


def _table(kind: type[_Table], values: Any, label: str) -> _Table:
    if not isinstance(values, Mapping):
        raise UserError(f"{label} must be a table, [{label}], not {values!r}")
    names = [spec.name for spec in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            hint = nearest(key, names, what="the keys are", prefix=f"{label}.")
            raise UserError(f"unknown key {label}.{key}; {hint}")
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{label}.{error}") from None
