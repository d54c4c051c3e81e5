"""A process's memory, and how the GNU C library treats freed memory. Other libraries are
unchanged."""

import ctypes
import mmap
import sys
from contextlib import suppress
from pathlib import Path

PAGE = mmap.PAGESIZE


def give_back() -> None:
    """Return free memory to the system; otherwise gaps add up over thousands of steps."""
    library = c_library()
    if library is not None:
        library.malloc_trim(0)


def resident() -> int:
    """Return this process's resident memory in bytes; 0 if the system does not report it."""
    pages = "0 0"
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(pages.split()[1]) * PAGE


def peak() -> float | None:
    """Return this process's peak resident memory in MB (2²⁰ bytes); None on Windows, which does not
    report it."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes, or KiB


def c_library() -> ctypes.CDLL | None:
    """Return the GNU C library if the process uses it."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if library is not None and hasattr(library, "malloc_trim") else None
