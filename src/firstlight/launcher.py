"""What a launcher such as torchrun says of this process, by the environment's variables."""

import os


def named() -> bool:
    """Whether a launcher started this process."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return False
    return "MASTER_ADDR" in os.environ or os.environ["WORLD_SIZE"] != "1"


def restarts() -> int:
    """How often torchrun has started the processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def first_here() -> bool:
    """Whether this is the first process that a launcher started on this machine, or the only one.
    What is wrong before the processes are joined is wrong in all of them."""
    return not named() or os.environ.get("LOCAL_RANK", "0") == "0"
