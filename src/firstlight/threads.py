"""How many threads to compute with, and how they wait for one another."""

import os
import sys
from pathlib import Path

MOST_THREADS = 4096
# How often a thread that waits looks again before it sleeps. OpenMP's own 300,000 times are good on
# a machine that does nothing else; beside three busy programs a training took 26 times as long with
# them, as a waiting thread keeps the processor from the one it waits for.
SPINS = 3000


def wait_briefly() -> None:
    """Let OpenMP's threads sleep soon where they wait, unless the environment says how they should.

    It has an effect before PyTorch is imported, and on its GNU builds alone; processes that are
    started later have it too.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def waiting() -> str:
    """What the environment says of how threads wait, for the record of a run."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def usable_threads() -> int:
    """OMP_NUM_THREADS, at most ``MOST_THREADS``, else the processors this process may use.

    A container's CPU quota (cgroup v2) counts as a limit, rounded up.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdigit() and int(wanted) > 0:
        return min(int(wanted), MOST_THREADS)
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows know no affinity
        processors = os.cpu_count() or 1
    return max(1, min(processors, _cgroup_quota(Path("/sys/fs/cgroup/cpu.max")) or processors))


def compute_with(threads: int) -> None:
    """Let PyTorch take so many threads in the calling thread, where it is in use at all."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _cgroup_quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text(encoding="utf-8").split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None
