"""What is said of a set of pictures: each kind of fault with the pictures concerned."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A picture that may be in the wrong class."""

    name: str
    given: str
    """Its class."""
    suggested: str
    """The class it looks like."""
    probability: float
    """Of the given class, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault."""

    kind: str
    """A short name, such as ``leak``."""
    severe: bool
    """Whether it makes what a model is said to be worth untrue, or stops its training."""
    text: str
    """What it is, how much of it, and what to do."""
    groups: tuple[tuple[str, ...], ...] = ()
    """The pictures concerned, those together that belong together."""
    details: tuple[str, ...] = ()
    """A line for each group, where its names do not say it all."""
    exclude: tuple[str, ...] = ()
    """Those of them to leave out."""
    suspects: tuple[Suspect, ...] = ()
    """More of each picture where its class is in doubt."""
