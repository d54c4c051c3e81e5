"""When answers count as no better than guessing, for constructed answers."""

import math

import numpy as np
import pytest

from firstlight.evaluate.label_metrics import LabelMetrics, measure_labels
from firstlight.evaluate.learnt import above_guessing, nothing_learnt
from firstlight.evaluate.metrics import Metrics, measure


def answers(labels: list[int], said: list[int], classes: int, sure: float = 0.9) -> Metrics:
    rows_NK = np.full((len(said), classes), (1 - sure) / (classes - 1), np.float32)
    rows_NK[np.arange(len(said)), said] = sure
    names = tuple("abcdefghijkl"[:classes])
    return measure(np.array(labels, dtype=np.int64), rows_NK, names)


EVEN = [i % 4 for i in range(200)]
UNEVEN = [0] * 180 + [1] * 20


@pytest.mark.parametrize("sure", [0.3, 0.9, 0.999])
def test_always_the_largest_class_is_nothing(sure: float) -> None:
    told = nothing_learnt(answers(UNEVEN, [0] * 200, 2, max(sure, 0.6)))
    assert "it gets 90.0 % right, and always answering 'a', the largest class," in told
    assert "would get 90.0 % right" in told
    assert nothing_learnt(answers(EVEN, [2] * 200, 4, sure))


def test_answers_at_random_are_nothing() -> None:
    rng = np.random.default_rng(0)
    said = rng.permutation(EVEN).tolist()
    assert nothing_learnt(answers(EVEN, said, 4))


def test_right_answers_are_something() -> None:
    assert not nothing_learnt(answers(EVEN, EVEN, 4))
    assert not nothing_learnt(answers(UNEVEN, UNEVEN, 2))


def test_small_classes_found_at_the_cost_of_the_large_one_are_something() -> None:
    """85 % right is less than the largest class's 90 %, but both classes are found."""
    said = [0] * 152 + [1] * 28 + [1] * 18 + [0] * 2
    metrics = answers(UNEVEN, said, 2)
    assert metrics.accuracy == 0.85
    assert not nothing_learnt(metrics)


def test_a_network_that_is_too_sure_but_mostly_right_is_something() -> None:
    """An overfitted network: its loss is above ln 2, but 80 % of its answers are right."""
    labels = [i % 2 for i in range(200)]
    said = [(1 - x) if i % 5 == 0 else x for i, x in enumerate(labels)]
    metrics = answers(labels, said, 2, sure=0.9999999)
    assert metrics.log_loss > math.log(2) and metrics.accuracy == 0.8
    assert not nothing_learnt(metrics)
    assert (
        above_guessing(metrics)
        == f"its loss is {metrics.log_loss:.4g}; equal probabilities for all classes give 0.6931"
    )


def test_of_few_images_only_the_loss_tells() -> None:
    labels, said = [0, 0, 0, 1], [0, 0, 0, 0]
    assert not nothing_learnt(answers(labels, said, 2, sure=0.7))
    assert "its loss is" in nothing_learnt(answers(labels, said, 2, sure=0.9999))


def test_images_of_one_class_tell_nothing() -> None:
    assert not nothing_learnt(answers([0] * 60, [0] * 60, 2))


def test_from_fifty_images_on_the_accuracy_counts() -> None:
    """Always the largest class, with probabilities that cost little."""
    few, enough = ([0] * 30 + [1] * rest for rest in (19, 20))
    assert nothing_learnt(answers(few, [0] * 49, 2, sure=0.61)) == ""
    assert nothing_learnt(answers(enough, [0] * 50, 2, sure=0.61)) != ""


def ranked(has: list[list[bool]]) -> LabelMetrics:
    """Answers with probabilities that fall from the first image to the last, for all labels."""
    labels_NK = np.array(has)
    count, labels = labels_NK.shape
    falling_NK = np.repeat(np.linspace(0.9, 0.1, count, dtype=np.float32)[:, None], labels, axis=1)
    return measure_labels(labels_NK, falling_NK, tuple("abc"[:labels]), np.full(labels, 0.5))


def test_labels_that_come_first_are_learnt_and_labels_that_come_last_are_not() -> None:
    first = [[at < 20, True, at < 20] for at in range(60)]  # all images have the second label
    last = [[at >= 40, True, at >= 40] for at in range(60)]
    assert nothing_learnt(ranked(first)) == ""
    # Σ 1/20 · k/(40 + k) for k from 1 to 20; a random order has 20 of 60.
    low = sum(k / (40 + k) for k in range(1, 21)) / 20
    assert nothing_learnt(ranked(last)) == (
        f"its mean average precision is {100 * low:.1f} %, and a random order of the images has "
        "33.3 % on average"
    )
    assert nothing_learnt(ranked(last[11:])) == ""  # 49 images are too few to tell
    assert nothing_learnt(ranked([[True, False]] * 60)) == ""  # labels of all images or none
