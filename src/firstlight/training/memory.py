"""Memory that one training step frees and the next one allocates again."""

from collections.abc import Iterator
from contextlib import contextmanager

from firstlight.memory import c_library

# Parameter numbers of mallopt (malloc.h of the GNU C library).
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
# The largest values that the library itself would choose, and its default.
MMAP_THRESHOLD_AFTER, TRIM_THRESHOLD_AFTER, MMAP_MAX_AFTER = 32 * 2**20, 64 * 2**20, 65536


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for the next step, and return it to the system at the end.

    The GNU C library returns the memory of every large tensor when it is freed. Allocating it again
    costs a page fault for each 4 KB, measured as 6 to 19 % of a training. With other C libraries
    this does nothing. The setting belongs to the process: if two blocks overlap, the first one to
    end resets it for both.
    """
    library = c_library()
    if library is None:
        yield
        return
    library.malloc_trim(0)  # memory freed before, for example by loading, would leave gaps
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(MMAP_MAX, MMAP_MAX_AFTER)
        library.mallopt(MMAP_THRESHOLD, MMAP_THRESHOLD_AFTER)
        library.mallopt(TRIM_THRESHOLD, TRIM_THRESHOLD_AFTER)
        library.malloc_trim(0)
