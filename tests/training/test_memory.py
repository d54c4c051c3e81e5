"""Memory kept between steps, compared with the system's count, in a process that did nothing
else."""

import ctypes
import json
import subprocess
import sys

import pytest

MEGABYTE = 2**20
COUNTS = """
import json, resource
from pathlib import Path
import torch
from firstlight.memory import give_back
from firstlight.training.memory import kept_memory

def page_faults(megabytes):
    "While three tensors are made and freed in turn, after many that leave places of their size."
    for _ in range(30):
        torch.zeros(megabytes * 2**18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.zeros(megabytes * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

torch.zeros(1)
found = {"resident before": resident()}
with kept_memory():
    pass
found |= {"faults of small after": page_faults(16), "faults of large after": page_faults(40)}
with kept_memory():
    found |= {"faults inside": page_faults(40), "resident inside": resident()}
    give_back()
    found["resident given back"] = resident()
    page_faults(40)
    found["resident again"] = resident()
found["resident after"] = resident()
print(json.dumps(found))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only the GNU C library is told anything",
)
def test_freed_memory_is_taken_again_inside_and_given_back_after() -> None:
    done = subprocess.run([sys.executable, "-c", COUNTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    # A tensor of 40 MB has 10,240 pages, or 20 of 2 MB if the system uses large ones.
    assert found["faults of large after"] > 50
    assert found["faults inside"] < 20
    half = 20 * MEGABYTE
    assert found["resident inside"] > found["resident before"] + half
    assert found["resident given back"] < found["resident inside"] - half
    assert found["resident again"] > found["resident before"] + half
    assert found["resident after"] < found["resident again"] - half
    # The library keeps smaller blocks itself, as it would without firstlight.
    assert found["faults of small after"] < 12
