"""A network made by the user's own code: built, and checked before training.

Axes: N images, C channels, H height, W width, K classes.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import is_lazy

from firstlight.errors import UserError
from firstlight.layers.own_code import OwnCode, code_errors

Shape = tuple[int, int, int]


@contextmanager
def seeded(rng: Generator, device: str = "cpu") -> Iterator[None]:
    """Seed the global generators of PyTorch, NumPy and Python from ``rng``, and restore their
    states at the end."""
    seed = int(torch.randint(1 << 62, (), generator=rng))
    python, numpy = random.getstate(), np.random.get_state()
    kind = "mps" if device == "mps" else "cuda"
    devices = [] if device == "cpu" else [torch.get_device_module(kind).current_device()]
    with torch.random.fork_rng(devices, device_type=kind):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def built(code: OwnCode, image_shape: Shape, classes: int, rng: Generator) -> nn.Module:
    """Return the module that the code makes, with initial weights determined by ``rng``.

    Raises ``UserError`` if the code was not named, fails, or does not return a module.
    """
    if code.make is None:
        raise UserError(
            f"the network is code, {code.function} of {code.file}, which only runs if you name "
            f"it: give --network {code.word}, or network={code.function} in Python"
        )
    with seeded(rng):
        with code_errors(code.path, code.function):
            module = code.make(image_shape, classes)
        if not isinstance(module, nn.Module):
            came = type(module).__name__
            hint = "; is a return missing?" if module is None else ""
            raise _wrong(code, f"returned {came}, not a torch.nn.Module{hint}")
        if any(is_lazy(one) for one in (*module.parameters(), *module.buffers())):
            _answer(code, module.eval(), _pixels(image_shape, 2))  # sets the shapes of lazy modules
    _check_tensors(code, module)
    module.register_forward_pre_hook(_contiguous)
    return module.to("cpu", torch.float32)


def _contiguous(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Put images into the memory order that ``view`` expects. ``contiguous`` would keep the strides
    of a single channel, and convolutions choose their algorithm's memory order by those."""
    return tuple(
        one.flatten().view(one.shape) if isinstance(one, Tensor) else one for one in inputs
    )


def _wrong(code: OwnCode, what: str) -> UserError:
    return UserError(f"{f'{code.path}: ' if code.path else ''}{code.function} {what}")


def _check_tensors(code: OwnCode, module: nn.Module) -> None:
    """Raise ``UserError`` for tensors that cannot be trained, saved or loaded."""
    try:
        state = module.state_dict()
    except RuntimeError as error:
        raise _wrong(code, f"returned a module whose state cannot be saved: {error}") from error
    odd = next((name for name, value in state.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise _wrong(
            code, f"returned a module with a state that is not a tensor, {odd}; use buffers"
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise _wrong(code, "returned a module without parameters to train")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise _wrong(
                code, f"returned a module on the meta device: {name} has a shape but no numbers"
            )
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise _wrong(code, f"returned a module whose {name} is {tensor.dtype}, {tensor.layout}")
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _wrong(code, f"returned a module whose {name} holds numbers that are not finite")


def check(code: OwnCode, image_shape: Shape, classes: int, rng: Callable[[], Generator]) -> None:
    """Test the code on a few images of random noise.

    ``rng`` returns a generator with the same seed each time. Raises ``UserError`` if the module
    does not map float32 N×C×H×W to float32 scores N×K, if a prediction depends on chance or on the
    other images in the batch, or if training would not be repeatable.
    """
    first, second = (built(code, image_shape, classes, rng()) for _ in range(2))
    if not _equal(first.state_dict(), second.state_dict()):
        raise _wrong(
            code,
            "returned other weights when it was called again with the same seed. Draw them from "
            "PyTorch's, NumPy's or Python's global generator, or from one with a fixed seed",
        )
    _check_answers(code, first.eval(), image_shape, classes, rng)
    _check_training(code, first.train(), second.train(), image_shape, classes, rng)


def pass_noise(code: OwnCode, module: nn.Module, image_shape: Shape) -> None:
    """Run a few images of noise in training mode. Raises ``UserError`` if that fails."""
    with seeded(Generator()):
        _answer(code, module.train(), _pixels(image_shape, 2))


def _equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(
        torch.equal(one, others[name]) for name, one in some.items()
    )


def _pixels(image_shape: Shape, count: int) -> Tensor:
    """Return random float32 N×C×H×W, in the memory layout of real batches."""
    height, width, channels = image_shape
    rng = Generator().manual_seed(0)
    return torch.rand((count, height, width, channels), generator=rng).permute(0, 3, 1, 2)


def _answer(code: OwnCode, module: nn.Module, pixels_NCHW: Tensor) -> Any:
    """Return the module's output. Raises ``UserError`` if it fails."""
    with code_errors(code.path, "its module"):
        return module(pixels_NCHW)


def _scores(code: OwnCode, module: nn.Module, pixels_NCHW: Tensor, classes: int) -> Tensor:
    """Return the scores, float32 N×K. Raises ``UserError`` for anything else."""
    given, count = _answer(code, module, pixels_NCHW), len(pixels_NCHW)
    wanted = f"wanted scores {count}×{classes}, float32, for {count} images"
    if not isinstance(given, Tensor):
        raise _wrong(code, f"returned a module that returns {type(given).__name__}; {wanted}")
    if given.shape != (count, classes) or given.dtype != torch.float32:
        came = "×".join(map(str, given.shape)) or "one number"
        kind = str(given.dtype).removeprefix("torch.")
        raise _wrong(code, f"returned a module that returns {came}, {kind}; {wanted}")
    if not bool(torch.isfinite(given).all()):
        raise _wrong(code, "returned a module that returns numbers that are not finite")
    return given


@torch.inference_mode()
def _check_answers(
    code: OwnCode, module: nn.Module, shape: Shape, classes: int, rng: Callable[[], Generator]
) -> None:
    """Check evaluation mode, which every prediction uses."""
    pixels_NCHW = _pixels(shape, 3).contiguous()
    given_NCHW, before = pixels_NCHW.clone(), _copied(_tensors(module))
    with seeded(rng()):
        scores_NK = _scores(code, module, pixels_NCHW, classes)
        again_NK = _scores(code, module, pixels_NCHW, classes)
        alone_NK = _scores(code, module, pixels_NCHW[:1], classes)
    if not torch.equal(pixels_NCHW, given_NCHW):
        raise _wrong(code, "returned a module that changes its input in place; work on a copy")
    changed = _first_change(before, _tensors(module))
    if changed:
        raise _wrong(
            code,
            f"returned a module that changes {changed} in evaluation mode, so each answer would "
            "change the next. Change it only while self.training",
        )
    if not torch.equal(scores_NK, again_NK):
        raise _wrong(
            code,
            "returned a module whose answers differ for the same image: it draws random numbers "
            "in evaluation mode. Use nn.Dropout, or pass training=self.training",
        )
    if not torch.allclose(scores_NK[:1], alone_NK, rtol=1e-2, atol=1e-3):
        raise _wrong(
            code,
            "returned a module whose answer for an image depends on the other images of its "
            "batch. In evaluation mode each image must be independent (a batch norm needs its "
            "running statistics, and a reshape must keep the first axis)",
        )
    sums_N = scores_NK.sum(dim=1)
    if bool((scores_NK >= 0).all()) and torch.allclose(sums_N, torch.ones(3), atol=1e-4):
        raise _wrong(
            code,
            "returned a module that gives probabilities; wanted scores (logits), so leave out "
            "the last softmax",
        )


def _check_training(
    code: OwnCode,
    module: nn.Module,
    other: nn.Module,
    shape: Shape,
    classes: int,
    rng: Callable[[], Generator],
) -> None:
    """Check training mode; ``other`` is the same module, built again."""
    pixels_NCHW, given = _pixels(shape, 3), list[Tensor]()
    before, parameters = _hidden(module), _copied(dict(module.named_parameters()))
    for one in (module, other):
        with seeded(rng()):
            given.append(_scores(code, one, pixels_NCHW, classes))
    if not given[0].requires_grad:
        raise _wrong(code, "returned a module whose scores do not depend on trainable weights")
    with code_errors(code.path, "the gradient of its module"):
        given[0].sum().backward()
    changed = _first_change(parameters, dict(module.named_parameters()))
    if changed:
        raise _wrong(code, f"returned a module that changes its weights {changed} in forward")
    if not torch.equal(*given):
        raise _wrong(
            code,
            "returned a module whose random numbers do not depend on the seed. Draw them from "
            "PyTorch's, NumPy's or Python's global generator",
        )
    with seeded(rng()):
        between = _hidden(module)
        _scores(code, module, pixels_NCHW, classes)
    changed = _first_change(between, _hidden(module))
    if changed and _first_change({changed: before.get(changed)}, {changed: between[changed]}):
        raise _wrong(
            code,
            f"returned a module that changes {changed} with every batch and does not save it, so "
            "a resumed training would differ. Make it a buffer: self.register_buffer(...)",
        )


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _hidden(module: nn.Module) -> dict[str, Any]:
    """Return the state of a module that is not saved: plain numbers and non-persistent buffers."""
    saved = set(module.state_dict())
    hidden: dict[str, Any] = _copied(
        {name: one for name, one in module.named_buffers() if name not in saved}
    )
    for prefix, inner in module.named_modules():
        for name, value in vars(inner).items():
            if isinstance(value, int | float) and name != "training":
                hidden[f"{prefix}.{name}".lstrip(".")] = value
    return hidden


def _first_change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the name of the first value that differs; empty if none does."""
    for name, one in after.items():
        was = before.get(name)
        if isinstance(one, Tensor) and isinstance(was, Tensor):
            if not torch.equal(one, was):
                return name
        elif one is not was and one != was:
            return name
    return ""
