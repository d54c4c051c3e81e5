"""A device that is not there: its tensors say ``cuda`` or ``mps``, and the CPU computes with them.

A test that has no accelerator can run a whole training on it, and is told what would go wrong or be
slow on the real one:

- tensors or generators of two devices in one operation raise ``MixedDevicesError``;
- ``mps`` refuses float64, LAPACK's functions, and the padding by which edges are repeated;
- ``Device.events`` notes each wait of the processor for the device, each copy, each random draw,
  and each launch, with the line of firstlight that asked for it;
- within ``Device.capturing`` a wait or a copy raises ``CaptureError``: a graph that is being
  recorded allows neither, nor a generator that it does not know, nor a new seed;
- a graph replays the operations and the numbers of its recording, on the same memory. If the same
  work would ask for others the next time, ``replay`` raises ``FrozenError``.

It knows no memory, no streams and no speed. A copy to the device counts as a wait unless it is made
with ``non_blocking=True``, since PyTorch otherwise waits for it. Views and allocations are no
launches; each other operation counts as one, whatever the real device makes of it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import clip_grad
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten


class MixedDevicesError(RuntimeError):
    """Tensors or generators of two devices met in one operation."""


class CaptureError(RuntimeError):
    """Something was asked for that a graph cannot record."""


class FrozenError(RuntimeError):
    """A graph would repeat what its work would now do otherwise."""


class UnsupportedError(TypeError):
    """The device has no such numbers or no such function."""


_WAITS = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}
"""Operations whose result, or its size, the processor has to know."""
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
_DRAWS = ("bernoulli", "multinomial", "normal", "rand", "uniform", "native_dropout")
_FREE = {
    "_local_scalar_dense",
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "diagonal",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unfold",
    "unsqueeze",
    "view",
}
"""Operations that launch nothing: they give a view, or memory."""
_NOT_ON_MPS = ("linalg_eigh", "linalg_eig", "linalg_qr", "linalg_svd", "geqrf", "ormqr")
_BORDER = 1
"""``grid_sample``'s number for the padding by which edges are repeated."""


@dataclass(frozen=True)
class Event:
    """Something that the device was asked for."""

    kind: str
    """``wait``, ``copy``, ``draw`` or ``launch``."""
    operation: str
    place: str
    """The line of firstlight that asked for it."""


@dataclass
class Device:
    """A device that is pretended, and what it was asked for."""

    name: str
    events: list[Event] = field(default_factory=list)
    captures: bool = False
    generators: list[Generator] = field(default_factory=list)
    """The generators that graphs know."""
    asked: list[Any] | None = None
    """The operations of a recording or a replay, with numbers and with memory from outside."""
    made: set[int] = field(default_factory=set)
    """The memory that it made itself."""

    @property
    def device(self) -> torch.device:
        return torch.device(self.name, 0)

    def of_kind(self, kind: str) -> list[Event]:
        """The events of one kind, in their order."""
        return [event for event in self.events if event.kind == kind]

    def generator(self) -> "PretendGenerator":
        """A new generator of the device."""
        made = PretendGenerator()
        made.on = self
        return made

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Within, nothing may be asked for that a graph cannot record."""
        self.captures = True
        try:
            yield
        finally:
            self.captures = False

    def recorded(
        self, work: Callable[[], tuple[Tensor, ...]], generators: Sequence[Generator]
    ) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        """Record work as a CUDA graph does: a replay leaves its results in the same memory, and is
        one launch."""
        self.generators += generators
        with self.capturing():
            results, recorded = self._noted(work)

        def replay() -> None:
            before = len(self.events)
            again, asked = self._noted(work)
            for one, other in zip(recorded, asked, strict=False):
                if one != other:
                    raise FrozenError(f"recorded {one}, now {other}")
            if len(recorded) != len(asked):
                raise FrozenError(f"recorded {len(recorded)} operations, now {len(asked)}")
            for place, value in zip(results, again, strict=True):
                place.copy_(value)
            del self.events[before:]
            self.note("launch", "a graph")

        return replay, results

    def _noted(
        self, work: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        self.asked, self.made = [], set()
        try:
            return work(), self.asked
        finally:
            self.asked = None

    def note(self, kind: str, operation: object) -> None:
        event = Event(kind, str(operation), _place())
        self.events.append(event)
        if self.captures and kind in ("wait", "copy"):
            raise CaptureError(f"{kind} in a graph: {event.operation} at {event.place}")

    def is_mine(self, device: Any) -> bool:
        return device is not None and torch.device(device).type == self.name

    def refuse_float64(self, tensor: object, operation: object) -> None:
        if self.name == "mps" and isinstance(tensor, Tensor) and tensor.dtype == torch.float64:
            raise UnsupportedError(f"MPS has no float64: {operation} at {_place()}")

    def wrapped(self, tensor: Tensor) -> "OnDevice":
        self.refuse_float64(tensor, "a tensor")
        return OnDevice(tensor, self)

    def received(self, tensor: Tensor, non_blocking: bool) -> "OnDevice":
        """A copy, on the device, of a tensor in the processor's memory."""
        self.note("copy", f"to {self.name}")
        if not non_blocking:
            self.note("wait", f"copy to {self.name}")
        with torch.no_grad():
            return self.wrapped(tensor.detach().clone())

    def given(self, tensor: "OnDevice") -> Tensor:
        """A copy, in the processor's memory, of a tensor on the device."""
        self.note("copy", "to cpu")
        self.note("wait", "copy to cpu")
        return tensor.elem.detach().clone()

    def computed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operation gives, computed by the CPU."""
        leaves = tree_leaves((args, kwargs))
        if self.asked is not None:
            outside = [_memory(one) for one in leaves if isinstance(one, OnDevice)]
            outside = [place for place in outside if place not in self.made]
            self.asked.append((str(func), [one for one in leaves if _is_number(one)], outside))
        mine = [one for one in leaves if isinstance(one, OnDevice)]
        wanted = kwargs.get("device")
        name = func._schema.name.split("::")[1]
        moves = func in (aten._to_copy.default, aten.copy_.default)
        if mine and not moves:
            self._check_devices(func, args, leaves)
        if func is aten._to_copy.default:
            source = args[0]
            if self.is_mine(wanted) and not isinstance(source, OnDevice):
                return self._converted(func, args, kwargs)
            wanted = None
        elif func is aten.copy_.default:
            target, source = args[:2]
            if isinstance(target, OnDevice) != isinstance(source, OnDevice):
                non_blocking = len(args) > 2 and bool(args[2])
                self.note("copy", func)
                if not (non_blocking and isinstance(target, OnDevice)):
                    self.note("wait", func)
        self._check_supported(name, args)
        if func in _WAITS or (func in _INDEXING and _by_mask(args[1])):
            self.note("wait", func)
        if any(word in name for word in _DRAWS):
            self.note("draw", func)
        if name not in _FREE:
            self.note("launch", func)
        plain = {k: "cpu" if k == "device" else v for k, v in kwargs.items()}
        plain = {k: v for k, v in plain.items() if k != "pin_memory"}
        found = func(*tree_map(_plain, args), **tree_map(_plain, plain))
        on_cpu = func is aten.copy_.default and not isinstance(args[0], OnDevice)
        if on_cpu or not (mine or self.is_mine(wanted)):
            return found
        results = self._results(func, args, kwargs, found)
        if self.asked is not None:
            given = {_memory(one) for one in mine}
            made = {_memory(one) for one in tree_leaves(results) if isinstance(one, OnDevice)}
            self.made |= made - given
        return results

    def _converted(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "OnDevice":
        rest = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory")}
        return self.received(func(*args, **rest), bool(kwargs.get("non_blocking")))

    def _check_devices(self, func: Any, args: tuple[Any, ...], leaves: list[Any]) -> None:
        """CUDA lets a CPU's single number in, and a CPU's indices, which it copies."""
        others = [
            one
            for one in leaves
            if isinstance(one, Tensor) and not isinstance(one, OnDevice) and one.dim() > 0
        ]
        if not others:
            return
        if func in _INDEXING and isinstance(args[0], OnDevice) and self.name == "cuda":
            self.note("copy", func)
            self.note("wait", func)
            return
        shapes = [(str(one.device), tuple(one.shape)) for one in leaves if isinstance(one, Tensor)]
        raise MixedDevicesError(f"{func}: {shapes} at {_place()}")

    def _check_supported(self, name: str, args: tuple[Any, ...]) -> None:
        if self.name != "mps":
            return
        if name.lstrip("_").startswith(_NOT_ON_MPS):
            raise UnsupportedError(f"MPS has no {name} at {_place()}")
        if name == "grid_sampler_2d" and args[3] == _BORDER:
            raise UnsupportedError(f"MPS: Unsupported Border padding mode at {_place()}")

    def _results(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> Any:
        """The results on the device; what was changed in place is what came in."""
        if func._schema.is_mutable:
            described = func._schema.arguments
            given = [
                args[i] if i < len(args) else kwargs.get(a.name) for i, a in enumerate(described)
            ]
            written = [
                value
                for value, about in zip(given, described, strict=True)
                if about.alias_info is not None and about.alias_info.is_write
            ]
            returns = func._schema.returns
            if not returns:
                return None
            if all(one.alias_info is not None and one.alias_info.is_write for one in returns):
                return written[0] if len(returns) == 1 else tuple(written[: len(returns)])
        return tree_map(lambda one: self.wrapped(one) if _is_plain(one) else one, found)


class OnDevice(Tensor):
    """A tensor that says it is on the device; ``elem`` holds its numbers."""

    elem: Tensor
    on: Device

    @staticmethod
    def __new__(cls, elem: Tensor, on: Device) -> "OnDevice":
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device=elem.device,
            requires_grad=False,
        )
        made.elem, made.on = elem, on
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.on.device

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return self.on.name == "cuda"

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return self.on.given(self)

    def tolist(self) -> Any:
        self.on.note("wait", "tolist")
        return self.elem.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        made: Tensor = OnDevice(self.elem.detach().clone(), self.on)
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, self.requires_grad)
        memo[id(self)] = made
        return made

    def data_ptr(self) -> int:
        return self.elem.data_ptr()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.elem!r} on {self.device}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        one = next(x for x in tree_leaves((args, kwargs)) if isinstance(x, OnDevice))
        return one.on.computed(func, args, kwargs or {})


class PretendGenerator(Generator):
    """A CPU's generator that says it is of the device."""

    on: Device

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.on.device

    def manual_seed(self, seed: int) -> Generator:
        if self.on.captures:
            raise CaptureError(f"a new seed in a graph at {_place()}")
        return super().manual_seed(seed)


class _Operations(TorchDispatchMode):
    """Sees the operations that make tensors on the device."""

    def __init__(self, on: Device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on = on

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        here = any(isinstance(one, OnDevice) for one in tree_leaves((args, kwargs)))
        if here or self._on.is_mine(kwargs.get("device")):
            return self._on.computed(func, args, kwargs)
        return func(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Sees what never becomes an operation on the device: copies by ``to``, and generators."""

    def __init__(self, on: Device) -> None:
        super().__init__()
        self._on = on

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._check_generator(func, args, kwargs)
        if func is torch.tensor and self._on.is_mine(kwargs.get("device")):
            rest = {k: v for k, v in kwargs.items() if k != "device"}
            return self._on.received(func(*args, **rest), non_blocking=False)
        if func is Tensor.new_tensor and isinstance(args[0], OnDevice):
            made = torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype))
            return self._on.received(made, non_blocking=False)
        if func is Tensor.to:
            return self._moved(func, args, kwargs)
        return func(*args, **kwargs)

    def _moved(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor, *rest = args
        kwargs = dict(kwargs)
        where = kwargs.pop("device", None)
        if rest and isinstance(rest[0], str | torch.device | None):
            where = rest.pop(0)
        if rest and isinstance(rest[0], Tensor):  # as another one
            return func(tensor, *rest, **kwargs)
        non_blocking = bool(kwargs.pop("non_blocking", False)) or True in rest
        kinds = [one for one in rest if isinstance(one, torch.dtype)]
        if where is not None:
            here = isinstance(tensor, OnDevice)
            if here and torch.device(where).type == "cpu":
                tensor = self._on.given(tensor)
            elif not here and self._on.is_mine(where):
                self._on.refuse_float64(tensor, "to")
                tensor = self._on.received(tensor, non_blocking)
        asked = [one for one in kwargs.values() if one not in (None, False)]
        return func(tensor, *kinds, **kwargs) if kinds or asked else tensor

    def _check_generator(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rng = kwargs.get("generator")
        if not isinstance(rng, Generator):
            return
        if self._on.captures and not any(rng is one for one in self._on.generators):
            raise CaptureError(f"{func}: a generator that the graph does not know at {_place()}")
        tensors = [one for one in args if isinstance(one, Tensor)]
        where = kwargs.get("device") or (tensors[0].device if tensors else "cpu")
        if torch.device(where).type != rng.device.type:
            raise MixedDevicesError(
                f"{func}: a generator of {rng.device} for a tensor of {where} at {_place()}"
            )


class _Autocast(torch.autocast):
    """Autocast of the CPU, whatever device is named."""

    def __init__(self, device_type: str, *more: Any, **rest: Any) -> None:
        super().__init__("cpu", *more, **rest)


@contextmanager
def pretended(name: str, *, bfloat16: bool = False) -> Iterator[Device]:
    """Within, this machine has an accelerator: ``cuda`` or ``mps``. It says whether it computes in
    ``bfloat16``, which takes some CPUs many times as long."""
    on = Device(name)

    def generator(device: Any = "cpu") -> Generator:
        if not on.is_mine(device):
            return Generator(device)
        return on.generator()

    def grouped(lists: list[list[Any]], *more: Any) -> dict[Any, Any]:
        """As PyTorch groups tensors, but by the device that they say."""
        found = _group_tensors_by_device_and_dtype(lists, *more)
        where = lists[0][0].device
        return {(where, kind): group for (_, kind), group in found.items()}

    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr("torch.cuda.is_available", lambda: name == "cuda")
        patch.setattr("torch.backends.mps.is_available", lambda: name == "mps")
        patch.setattr("torch.cuda._lazy_init", lambda: None)
        patch.setattr("torch.cuda.is_bf16_supported", lambda **_: bfloat16)
        patch.setattr("torch.cuda.get_device_name", lambda *_: "a pretended GPU")
        patch.setattr("torch.autocast", _Autocast)
        records = {"cuda": on.recorded} if name == "cuda" else {}
        patch.setattr("firstlight.training.loop.recorder", records.get)
        patch.setattr(Tensor, "pin_memory", lambda tensor, *_: tensor)
        for user in (clip_grad, optimizer):
            patch.setattr(user, "_group_tensors_by_device_and_dtype", grouped)
        for module in [one for key, one in sys.modules.items() if key.startswith("firstlight.")]:
            if getattr(module, "Generator", None) is Generator:
                patch.setattr(module, "Generator", generator)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        stack.enter_context(_Calls(on))
        stack.enter_context(_Operations(on))
        yield on


def _memory(tensor: "OnDevice") -> int:
    return tensor.elem.untyped_storage().data_ptr()


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | torch.dtype)


def _plain(value: Any) -> Any:
    return value.elem if isinstance(value, OnDevice) else value


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, OnDevice)


def _by_mask(indices: Any) -> bool:
    return any(isinstance(one, Tensor) and one.dtype == torch.bool for one in indices or ())


def _place() -> str:
    """The innermost line of firstlight that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if "/firstlight/" in file:
            return f"{file.rpartition('/firstlight/')[2]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside"
