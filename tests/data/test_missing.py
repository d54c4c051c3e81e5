"""Which labels are missing."""

from typing import Any

import numpy as np
import pytest

from firstlight.data.missing import is_missing, refuse_missing
from firstlight.errors import DataError


class NAType:
    """Like pandas' NA: comparisons have no truth value."""

    def __ne__(self, other: object) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    "label",
    [
        *(None, float("nan"), np.float32("nan"), np.datetime64("NaT"), NAType()),
        *("", "  ", "nan", "NaN", "-nan", "None", "NONE", "null", "NA", "n/a", "#N/A", "<NA>"),
        *(b"nan", np.str_("nan")),
    ],
)
def test_what_says_that_there_is_no_label_is_missing(label: object) -> None:
    assert is_missing(label)


@pytest.mark.parametrize("label", [0, 0.0, False, "0", "naan", "no", "-", "cat", np.int64(0), b"x"])
def test_a_name_or_a_number_is_a_label(label: object) -> None:
    assert not is_missing(label)


def test_the_error_gives_the_numbers_of_the_first() -> None:
    labels = ["a", None, "b", "nan", *["None"] * 5]
    with pytest.raises(DataError, match=r"set: 7 of 9 labels are missing .*: labels 1, 3, 4, 5, 6"):
        refuse_missing("set", labels)
    with pytest.raises(DataError, match=r"1 of 2 labels is missing \(written ''\): line 3\. Give"):
        refuse_missing("set", ["a", ""], "line", [2, 3])


@pytest.mark.parametrize("labels", [np.arange(3), ["a", "b", "c"], np.array([0.0, 1.0, 2.0])])
def test_whole_numbers_and_full_lists_pass(labels: Any) -> None:
    refuse_missing("set", labels)
    with pytest.raises(DataError, match="set: 1 of 4 labels is missing"):
        refuse_missing("set", [*labels, None])
