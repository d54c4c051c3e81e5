"""Figures and self-contained HTML pages made from numbers. No disk, no data set, no model."""

import logging

_NO_CACHE = ("mkdir -p failed", "%s is not a writable directory", "Matplotlib created a temporary")


def _of_use(record: logging.LogRecord) -> bool:
    """Whether to keep a line of matplotlib's log. If its cache is not writable, for example without
    a home folder, it uses a temporary folder and works; that message is dropped."""
    return not str(record.msg).startswith(_NO_CACHE)


logging.getLogger("matplotlib").addFilter(_of_use)  # it logs when it is imported
