"""What a process holds in memory, and what the GNU C library does with freed memory; elsewhere
nothing is changed."""

import ctypes
import mmap
import sys
from contextlib import suppress
from pathlib import Path

PAGE = mmap.PAGESIZE


def give_back() -> None:
    """Give the system what is free just now: over thousands of steps the gaps would add up."""
    library = c_library()
    if library is not None:
        library.malloc_trim(0)


def resident() -> int:
    """Bytes of this process that are in memory; 0 where the system does not tell."""
    pages = "0 0"
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(pages.split()[1]) * PAGE


def peak() -> float | None:
    """MB (2²⁰ bytes) of this process that were in memory at most; None on Windows, which does not
    tell."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes, or KiB


def c_library() -> ctypes.CDLL | None:
    """The GNU C library, where it is the one in use."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if library is not None and hasattr(library, "malloc_trim") else None
