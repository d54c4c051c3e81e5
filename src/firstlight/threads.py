"""The number of threads, and how they wait for one another."""

import os
import sys
from pathlib import Path

MOST_THREADS = 4096
# How often a waiting thread spins before it sleeps. OpenMP's default of 300,000 suits an idle
# machine. Beside three busy programs, a training took 26 times as long with it, because a spinning
# thread occupies the processor of the thread that it waits for.
SPINS = 3000


def wait_briefly() -> None:
    """Make waiting OpenMP threads sleep soon, unless the environment says otherwise.

    This works only before PyTorch is imported, and only with its GNU builds. Child processes
    inherit it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def waiting() -> str:
    """Return the environment's setting for waiting threads, for the record of a run."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def usable_threads() -> int:
    """Return OMP_NUM_THREADS, at most ``MOST_THREADS``, or else the processors available to this
    process.

    A container's CPU quota (cgroup v2) is a limit too, rounded up.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdigit() and int(wanted) > 0:
        return min(int(wanted), MOST_THREADS)
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        processors = os.cpu_count() or 1
    return max(1, min(processors, _cgroup_quota(Path("/sys/fs/cgroup/cpu.max")) or processors))


def compute_with(threads: int) -> None:
    """Set PyTorch's number of threads in the calling thread, if PyTorch is loaded."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _cgroup_quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text(encoding="utf-8").split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None
