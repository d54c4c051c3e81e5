"""A run's record of the machine, and the test images that two runs share."""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firstlight.runs import record
from firstlight.runs.record import Answers, in_both

TWO_CORES = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 17
model name\t: another
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (TWO_CORES, "AMD EPYC (family 26, model 2)"),
        ("model name\t: Virtual CPU\n", "Virtual CPU"),
        (ARM, platform.processor() or platform.machine()),
        (None, platform.processor() or platform.machine()),
    ],
)
def test_a_processor_is_named_with_its_generation_where_the_system_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, name: str
) -> None:
    monkeypatch.setattr(record, "CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert record.processor_name() == name


def answers(names: list[str], true: list[int]) -> Answers:
    many = np.zeros(len(names), np.float32)
    labels = np.array(true, dtype=np.int64)
    return Answers(names=names, true_N=labels, predicted_N=labels, confidence_N=many, truth_N=many)


def told(sha256: str, path: str | None = None) -> dict[str, Any]:
    return {"path": path, "class_names": ["a", "b"], "test": {"sha256": sha256}}


def test_two_runs_share_all_test_images_or_those_of_the_same_name_at_one_place() -> None:
    """Runs that use one folder's pictures at two sizes hold out different ones."""
    one = answers(["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/9.jpg"], [0, 0, 1, 1])
    other = answers(["b/3.jpg", "a/7.jpg", "a/2.jpg", "b/9.jpg"], [1, 0, 0, 0])

    def shared(first: Answers, second: Answers, *said: dict[str, Any]) -> list[list[int]]:
        return [rows.tolist() for rows in in_both(first, second, (said[0], said[1]))]

    here = told("x", "photos")
    assert shared(one, one, here, told("x", "elsewhere")) == [[0, 1, 2, 3]] * 2
    assert shared(one, one, here, here | {"class_names": ["b", "a"]}) == [[], []]
    # The last one has another class there.
    assert shared(one, other, here, told("y", "photos")) == [[1, 2], [2, 0]]
    assert shared(one, other, here, told("y", "elsewhere")) == [[], []]
    assert shared(one, other, told("x"), told("y")) == [[], []]
    # Indices are not names: they differ for a part of a data set.
    numbered = answers(["0", "1"], [0, 1])
    assert shared(numbered, numbered, here, told("y", "photos")) == [[], []]
