"""How many threads to compute with."""

import os
import sys
from pathlib import Path


def usable_threads() -> int:
    """OMP_NUM_THREADS, else the processors this process may use.

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


def compute_with(threads: int) -> None:
    """Let PyTorch take so many threads in the calling thread, where it is in use at all."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _cgroup_quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None
