"""Memory kept between steps, against what the system counts."""

import ctypes
import resource
import sys
from pathlib import Path

import pytest
import torch

from firstlight.training.memory import kept_memory

SIZE = 64 * 2**20


def page_faults() -> int:
    """While three tensors are made and freed in turn, after as many before."""
    for _ in range(4):
        torch.zeros(SIZE // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.zeros(SIZE // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only the GNU C library is told anything",
)
def test_freed_memory_is_taken_again_inside_and_given_back_after() -> None:
    before = resident()
    with kept_memory():
        inside = page_faults()
        held = resident()
    after = resident()
    outside = page_faults()

    assert inside < SIZE // 4096 // 100
    assert outside > 100 * max(1, inside)
    assert held > before + SIZE // 2
    assert after < held - SIZE // 2
