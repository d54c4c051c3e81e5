"""Find rule lines on a page and remove them: ruled or squared paper, or a margin.

A rule is thin, nearly straight, and runs to the picture's border. The short runs of ink in each
column vote for it (Hough 1962), and it is followed along its slight bend. It is removed where the
ink is no thicker and no darker than the rule itself, so a pen stroke that crosses it stays.
Axes: H height, W width, P short runs of ink.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firstlight.data.regions import opened

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

THICKEST = 0.02
"""Largest thickness, as a fraction of the picture's longer side. Anything thicker is a stroke."""
STEEPEST = 0.75
"""Largest slope. Steeper rules are found in the transposed picture."""
SHORTEST = 0.4
"""Least length of a rule, as a fraction of the picture's width or height."""
LEAST_COVERED = 0.5
"""Least fraction of a rule's columns with a short run of ink."""
LARGEST_GAP = 0.3
"""Longest gap, where a stroke hides the rule, as a fraction of the width."""
AT_BORDER = 0.04
"""A rule that ends this close to the border, as a fraction of the width, reaches it."""
PAGE = 3
"""From this number, parallel lines are rules and not parts of a digit."""
LONGER = 1.6
"""A single rule is this many times as long as everything else that is written, or"""
LEFT = 0.6
"""If a single line was part of the stroke, removing it leaves this much less thickness."""
BEYOND, THINNER, FAINTER = 1.1, 0.6, 0.7
"""is longer than it, and this much thinner or fainter than the stroke."""
MOST = 100


@dataclass(frozen=True)
class Stroke:
    """The other writing on the page."""

    thick: float
    """Pixels."""
    level: float
    """Ink in its middle."""
    height: int
    width: int
    """Length in pixels from end to end."""


@dataclass(frozen=True, eq=False)
class Rule:
    """One line across a picture, or down a transposed picture."""

    y_W: FloatArray
    """The row of its centre in each column."""
    first: int
    last: int
    """The columns of its ends."""
    thick: float
    """Pixels."""
    level: float
    """Ink in its middle."""
    reaches: int
    """How many of its ends are at the picture's border."""

    def is_one(self, beside: int, lines: int, stroke: Stroke) -> bool:
        """Return whether it is a rule and not part of the stroke.

        ``beside`` lines have its direction, of ``lines`` in all.
        """
        length = self.last - self.first + 1
        if not self.reaches:
            # A side of a box that is cut off by the picture's border.
            return lines >= PAGE and length >= LONGER * max(stroke.height, stroke.width)
        if beside >= PAGE:
            return True
        if stroke.thick < LEFT * self.thick:
            return False
        if length >= LONGER * max(stroke.height, stroke.width):
            return True
        other = self.thick <= THINNER * stroke.thick or self.level <= FAINTER * stroke.level
        return other and length >= BEYOND * stroke.width


@dataclass(frozen=True, eq=False)
class _Runs:
    """Short vertical runs of ink."""

    x_P: npt.NDArray[np.intp]
    y_P: FloatArray
    """The row of its middle."""
    thick_P: npt.NDArray[np.intp]

    def chosen(self, chosen_P: BoolArray) -> "_Runs":
        return _Runs(self.x_P[chosen_P], self.y_P[chosen_P], self.thick_P[chosen_P])


def find_rules(ink_HW: Float32Array, edge: float) -> list[Rule]:
    """Find lines across the picture that may be rules. Ink is what is above ``edge``."""
    height, width = ink_HW.shape
    runs = _short_runs(ink_HW > edge, max(3, round(THICKEST * max(height, width))))
    found: list[Rule] = []
    tried = 0
    while len(runs.x_P) >= SHORTEST * width and tried < MOST:
        tried += 1
        line = _most_voted(runs, height, width)
        if line is None:
            break
        y_W, on_P = _followed(runs, line, width)
        rule = _rule(ink_HW, runs.chosen(on_P), y_W)
        if rule is not None:
            found.append(rule)
        near_P = np.abs(runs.y_P - np.polyval(line, runs.x_P)) <= 2
        runs = runs.chosen(~(on_P | near_P))
    return found


def without_rules(ink_HW: Float32Array, rules: list[Rule]) -> Float32Array:
    """Return the ink without the rules. Strokes that cross them stay whole."""
    height = len(ink_HW)
    clean_HW = ink_HW.copy()
    for rule in rules:
        half = int(np.ceil(rule.thick / 2)) + 1
        tall = 2 * half + 1
        x_W = np.arange(rule.first, rule.last + 1)
        offsets_R = np.arange(-half - tall, half + tall + 1)
        rows_RW = np.rint(rule.y_W[x_W]).astype(int) + offsets_R[:, None]
        band_RW = clean_HW[rows_RW.clip(0, height - 1), x_W]
        # Ink that is longer across the rule than the rule is thick belongs to a stroke.
        usual_R1 = np.median(band_RW, axis=1, keepdims=True)
        darker_RW = band_RW > np.maximum(1.5 * usual_R1, 0.75 * rule.level + 0.5 * usual_R1)
        on = slice(tall, -tall)  # the rule's own rows
        kept_RW = np.where(darker_RW[on], band_RW[on], opened(band_RW, tall + 1))
        inside_RW = (rows_RW[on] >= 0) & (rows_RW[on] < height)
        columns_RW = np.broadcast_to(x_W, inside_RW.shape)
        clean_HW[rows_RW[on][inside_RW], columns_RW[inside_RW]] = kept_RW[inside_RW]
    return clean_HW


def _short_runs(on_HW: BoolArray, longest: int) -> _Runs:
    height, width = on_HW.shape
    padded_WH = np.zeros((width, height + 2), dtype=bool)
    padded_WH[:, 1:-1] = on_HW.T
    steps_WH = padded_WH[:, 1:] != padded_WH[:, :-1]
    x_P, steps_P = np.nonzero(steps_WH)
    x_P, starts_P, ends_P = x_P[::2], steps_P[::2], steps_P[1::2]
    thick_P = ends_P - starts_P
    runs = _Runs(x_P, (starts_P + ends_P - 1) / 2, thick_P)
    return runs.chosen(thick_P <= longest)


def _most_voted(runs: _Runs, height: int, width: int) -> tuple[float, float] | None:
    """Return the slope and the row at the left of the straight line with runs in most columns."""
    step = max(1, width // 200)
    sampled_P = runs.x_P % step == 0
    x_P, y_P = runs.x_P[sampled_P] - width / 2, runs.y_P[sampled_P]
    count = 2 * int(np.ceil(STEEPEST * width / 4)) + 1
    slopes_S = np.linspace(-STEEPEST, STEEPEST, count)
    bin_size = 2.0
    reach = height + STEEPEST * width
    bins = int(reach / bin_size) + 3
    at_SP = ((y_P - slopes_S[:, None] * x_P + STEEPEST * width / 2) / bin_size).astype(int)
    at_SP += np.arange(count)[:, None] * bins
    votes_SB = np.bincount(at_SP.ravel(), minlength=count * bins).reshape(count, bins)
    # So that a line on the edge between two bins is not split.
    votes_SB[:, :-1] += votes_SB[:, 1:]
    best = int(votes_SB.argmax())
    if votes_SB.flat[best] * step < LEAST_COVERED * SHORTEST * width:
        return None
    slope = float(slopes_S[best // bins])
    middle = (best % bins + 1) * bin_size - STEEPEST * width / 2
    return slope, middle - slope * width / 2


def _followed(runs: _Runs, line: tuple[float, float], width: int) -> tuple[FloatArray, BoolArray]:
    """Return the row in each column of a slightly bent line, and which runs lie on it."""
    curve = np.array(line)
    for degree, near in ((1, 3.0), (2, 4.0), (2, 3.0)):
        away_P = np.abs(runs.y_P - np.polyval(curve, runs.x_P))
        on_P = away_P <= near
        if len(np.unique(runs.x_P[on_P])) < 4:
            break
        curve = _fitted(runs.x_P[on_P], runs.y_P[on_P], degree, width)
    on_P = np.abs(runs.y_P - np.polyval(curve, runs.x_P)) <= 2.5
    return np.polyval(curve, np.arange(width)), on_P


def _fitted(x_P: npt.NDArray[np.intp], y_P: FloatArray, degree: int, width: int) -> FloatArray:
    """Return the polynomial's coefficients by least squares on a well-conditioned scale."""
    fitted = np.polynomial.Polynomial.fit(x_P, y_P, degree, domain=[0, width])
    coefficients: FloatArray = fitted.convert().coef[::-1].astype(np.float64)
    return coefficients


def _rule(ink_HW: Float32Array, on: _Runs, y_W: FloatArray) -> Rule | None:
    """Return the longest stretch without a large gap, if it is long and dense enough."""
    height, width = ink_HW.shape
    x_Q = np.unique(on.x_P)
    if len(x_Q) == 0:
        return None
    breaks = np.flatnonzero(np.diff(x_Q) > LARGEST_GAP * width)
    stretch = max(np.split(x_Q, breaks + 1), key=len)
    first, last = int(stretch[0]), int(stretch[-1])
    length = last - first + 1
    if length < SHORTEST * width or len(stretch) < LEAST_COVERED * length:
        return None
    margin = AT_BORDER * width
    ends = [(first, first <= margin), (last, last >= width - 1 - margin)]
    near_edge = AT_BORDER * height
    reaches = [side or not near_edge <= y_W[end] <= height - 1 - near_edge for end, side in ends]
    if reaches[0]:
        first = max(0, first - round(margin))
    if reaches[1]:
        last = min(width - 1, last + round(margin))
    rows_Q = np.rint(y_W[stretch]).astype(int).clip(0, height - 1)
    return Rule(
        y_W=y_W,
        first=first,
        last=last,
        thick=float(np.median(on.thick_P)),
        level=float(np.median(ink_HW[rows_Q, stretch])),
        reaches=sum(reaches),
    )
