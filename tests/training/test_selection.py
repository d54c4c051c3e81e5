"""Which images an epoch uses, given the recorded losses."""

import pytest
import torch
from torch import Tensor

from firstlight.training.randomness import epoch_order
from firstlight.training.selection import Selection

CPU = torch.device("cpu")


def after(losses: Tensor, share: float) -> Selection:
    selection = Selection(len(losses), share, 0, CPU)
    order = torch.zeros(selection.count, dtype=torch.int64)
    selection.restore({"losses": losses, "order": order} if selection.chooses else {})
    return selection


def test_a_whole_share_is_every_image_in_the_order_of_the_epoch() -> None:
    whole = Selection(11, 1.0, 3, CPU)
    assert torch.equal(whole.order(2, begun=False), epoch_order(11, 3, 2))
    assert not whole.chooses and whole.state() == {}


@pytest.mark.parametrize(("share", "count", "hard"), [(0.5, 20, 10), (0.325, 13, 7), (0.01, 2, 1)])
def test_half_of_a_share_are_the_hardest_and_the_others_change(
    share: float, count: int, hard: int
) -> None:
    losses = torch.rand(40, generator=torch.Generator().manual_seed(1))
    selection = after(losses, share)
    taken = [selection.order(epoch, begun=False).tolist() for epoch in range(30)]
    hardest = set(losses.topk(hard).indices.tolist())
    for order in taken:
        assert len(order) == len(set(order)) == count
        assert hardest <= set(order)
    assert len(set().union(*taken)) > 2 * count - hard, "the others are not always the same"


@pytest.mark.parametrize(("images", "count"), [(1, 1), (2, 2), (3, 2), (5, 2)])
def test_of_few_images_there_are_two_for_batch_norm(images: int, count: int) -> None:
    assert Selection(images, 0.1, 0, CPU).count == count


def test_images_not_seen_yet_are_all_that_the_hardest_half_takes() -> None:
    selection = Selection(400, 0.5, 0, CPU)
    first = selection.order(0, begun=False)
    selection.note(0, torch.full((120,), 100.0))
    selection.note(120, torch.full((80,), 100.0))
    second = set(selection.order(1, begun=False).tolist())
    seen = set(first.tolist())
    # A hundred unseen ones; of the others, 200 seen and 100 unseen, and as many again at random.
    assert len(second - seen) > 100
    assert len(second & seen) > 40


def test_an_epoch_begun_keeps_its_images_whatever_is_learnt_meanwhile() -> None:
    selection = after(torch.rand(40), 0.5)
    begun = selection.order(4, begun=False).clone()
    selection.note(0, torch.rand(20))
    resumed = Selection(40, 0.5, 0, CPU)
    resumed.restore({k: v.clone() for k, v in selection.state().items()})
    assert torch.equal(resumed.order(4, begun=True), begun)
    assert torch.equal(resumed.order(5, begun=False), selection.order(5, begun=False))


@pytest.mark.parametrize(
    "change",
    [
        {"losses": torch.zeros(39)},
        {"losses": torch.zeros(40, dtype=torch.int64)},
        {"order": torch.zeros(19, dtype=torch.int64)},
        {"order": torch.full((20,), 40)},
        {"order": torch.full((20,), -1)},
    ],
)
def test_a_state_of_other_images_is_refused(change: dict[str, Tensor]) -> None:
    state = after(torch.rand(40), 0.5).state()
    with pytest.raises(ValueError, match="does not belong to this run"):
        Selection(40, 0.5, 0, CPU).restore({**state, **change})
    with pytest.raises(ValueError, match="does not belong to this run"):
        Selection(40, 0.5, 0, CPU).restore({"order": state["order"]})
