"""What a check finds in a set of pictures: each kind of fault with the affected pictures."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A picture that may be in the wrong class."""

    name: str
    given: str
    """Its given class."""
    suggested: str
    """The class it looks like."""
    probability: float
    """The probability of the given class, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault."""

    kind: str
    """A short name, such as ``leak``."""
    severe: bool
    """Whether it makes measured accuracies wrong, or stops training."""
    text: str
    """What it is, how much of it, and what to do."""
    groups: tuple[tuple[str, ...], ...] = ()
    """The affected pictures, in groups that belong together."""
    details: tuple[str, ...] = ()
    """A line for each group, if its names do not say everything."""
    exclude: tuple[str, ...] = ()
    """The pictures to leave out."""
    suspects: tuple[Suspect, ...] = ()
    """Details about each picture with a doubtful class."""
