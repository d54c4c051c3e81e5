"""Memory kept between steps, against what the system counts."""

import ctypes
import resource
import sys
from pathlib import Path

import pytest
import torch

from firstlight.training.memory import give_back, kept_memory

MEGABYTE = 2**20


def page_faults(size: int) -> int:
    """While three tensors are made and freed in turn, after as many before as it takes."""
    for _ in range(8):
        torch.zeros(size // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.zeros(size // 4)
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
        inside = page_faults(64 * MEGABYTE)
        held = resident()
        give_back()
        given = resident()
        page_faults(64 * MEGABYTE)
        again = resident()
    after = resident()

    pages = 64 * MEGABYTE // resource.getpagesize()
    assert inside < pages // 100
    assert held > before + 32 * MEGABYTE
    assert given < held - 32 * MEGABYTE
    assert again > before + 32 * MEGABYTE
    assert after < again - 32 * MEGABYTE
    assert page_faults(64 * MEGABYTE) >= 3 * pages
    # Smaller ones the library itself keeps, as it would have without us.
    assert page_faults(16 * MEGABYTE) < pages // 100
