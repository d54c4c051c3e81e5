"""Numbers in, pictures and self-contained HTML pages out. No disk, no data set, no model."""

import logging

_NO_CACHE = ("mkdir -p failed", "%s is not a writable directory", "Matplotlib created a temporary")


def _of_use(record: logging.LogRecord) -> bool:
    """Whether a line of matplotlib's log is: where its cache cannot be written, as without a home,
    it takes a temporary folder and all goes on."""
    return not str(record.msg).startswith(_NO_CACHE)


logging.getLogger("matplotlib").addFilter(_of_use)  # it says so when it is imported
