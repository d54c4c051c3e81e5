"""Where and with how many threads a run computes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from firstlight.errors import UserError


def choose_device(name: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``mps`` to a device that is there, or ``UserError``."""
    present = ["cpu"]
    if torch.cuda.is_available():
        present.append("cuda")
    if torch.backends.mps.is_available():
        present.append("mps")
    if name == "auto":
        return present[-1] if len(present) > 1 else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name}: there are auto, cpu, cuda, mps")
    if name not in present:
        raise UserError(
            f"--device {name}: PyTorch {torch.__version__} sees no such device here; "
            f"this machine has: {', '.join(present)}"
        )
    return name


def usable_threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS, else the processors this process may use.

    A container's CPU quota (cgroup v2) counts as a limit, rounded up.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows know no affinity
        processors = os.cpu_count() or 1
    return max(1, min(processors, _cgroup_quota(Path("/sys/fs/cgroup/cpu.max")) or processors))


def _cgroup_quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def computes_in_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16; without them it is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@contextmanager
def repeatable(threads: int, device: str) -> Iterator[None]:
    """Fix the thread count and, on a GPU, deterministic kernels; restored at the end."""
    threads_before = torch.get_num_threads()
    strict_before = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(strict_before)
