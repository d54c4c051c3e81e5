"""What a launcher such as torchrun says about this process in environment variables."""

import os


def named() -> bool:
    """Whether a launcher started this process."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return False
    return "MASTER_ADDR" in os.environ or os.environ["WORLD_SIZE"] != "1"


def restarts() -> int:
    """Return how often torchrun has restarted the processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def first_here() -> bool:
    """Whether this is the only process, or the first that a launcher started on this machine.
    Errors before the processes join are the same in all of them, so one reports them."""
    return not named() or os.environ.get("LOCAL_RANK", "0") == "0"
