"""The device and the number of threads of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from firstlight.errors import UserError


def choose_device(name: str) -> str:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``mps`` to an available device, or raise
    ``UserError``."""
    present = ["cpu"]
    if torch.cuda.is_available():
        present.append("cuda")
    if torch.backends.mps.is_available():
        present.append("mps")
    if name == "auto":
        return present[-1] if len(present) > 1 else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name}: wanted auto, cpu, cuda or mps")
    if name not in present:
        raise UserError(
            f"--device {name}: PyTorch {torch.__version__} finds no such device; this machine "
            f"has: {', '.join(present)}"
        )
    return name


def computes_in_bfloat16(device: str) -> bool:
    """Whether the device has bfloat16 instructions; without them bfloat16 is slower than
    float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


PRECISION = "ieee"
"""PyTorch's word for float32 that is computed as such."""


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Compute float32 on CUDA in float32; restore the caller's choice at the end.

    PyTorch lets convolutions use TF32 by default, whose factors have 10 bits after the point.
    """
    backends: Any = torch.backends
    kinds = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    # The former name too: where it says otherwise, PyTorch refuses to read it, even in its own
    # ``cudnn.flags``. It changes ``conv`` and ``rnn``, so it is always written before them.
    former_before = _former_name()
    backends.cudnn.allow_tf32 = False
    for kind in kinds:
        kind.fp32_precision = PRECISION
    try:
        yield
    finally:
        backends.cudnn.allow_tf32 = former_before
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def _former_name() -> bool:
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:  # the caller has set conv and rnn apart, which it cannot say
        return True


@contextmanager
def repeatable(threads: int, device: str) -> Iterator[None]:
    """Set the thread count and, on a GPU, deterministic kernels and float32 without TF32; restore
    all at the end."""
    threads_before = torch.get_num_threads()
    strict_before = torch.are_deterministic_algorithms_enabled()
    warns_before = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill_before = memory.fill_uninitialized_memory
    torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Our code never reads uninitialized memory, and filling it would cost a kernel launch each
        # time.
        memory.fill_uninitialized_memory = False
    try:
        with _whole_float32() if device == "cuda" else nullcontext():
            yield
    finally:
        torch.set_num_threads(threads_before)
        if device == "cuda":  # elsewhere it only costs a second to set
            torch.use_deterministic_algorithms(strict_before, warn_only=warns_before)
        memory.fill_uninitialized_memory = fill_before
