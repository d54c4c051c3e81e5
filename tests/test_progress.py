"""The remaining time, with a simulated clock."""

from types import SimpleNamespace

import pytest

from firstlight import progress
from firstlight.training.position import StepRecord


def test_the_time_left_counts_smaller_images_as_the_less_that_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of two epochs of 100 images has smaller ones, at half the work; a whole image takes
    10 s."""

    def work(seen: int) -> float:
        return seen - 0.5 * min(seen, 100)

    run = SimpleNamespace(images_per_epoch=100, total=200, seen=0, epochs=2, work=work)
    now = 0.0
    monkeypatch.setattr("firstlight.progress.time.monotonic", lambda: now)
    pace = progress.Speed(run)
    for epoch, seen, now, left in ((1, 20, 100.0, 1400.0), (2, 50, 1000.0, 500.0)):
        record = StepRecord(epoch=epoch, step=1, seen=seen, loss=1.0, accuracy=0.5)
        done, speed, found = pace.read(record)
        images = 100 * (epoch - 1) + seen
        assert done == work(images)
        assert speed == pytest.approx(images / now)
        assert found == pytest.approx(left)
