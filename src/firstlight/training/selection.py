"""Choose the images of an epoch and their order. Axes: N images of a run, M of an epoch, B of a
batch."""

from collections.abc import Mapping

import torch
from torch import Tensor

from firstlight.training.randomness import epoch_order, order_in_shards


class Selection:
    """Selects all images in a new random order, or a fraction of them: half of it has the largest
    loss when last trained on, the rest is random.

    Among the hardest, images that were never trained on come first. After I. Loshchilov and F.
    Hutter: Online batch selection for faster training of neural networks. arXiv:1511.06343, 2015,
    with two probabilities instead of theirs by rank.
    """

    def __init__(
        self,
        images: int,
        share: float,
        seed: int,
        device: torch.device,
        shards_N: Tensor | None = None,
    ) -> None:
        """``shards_N``: the shard of each image, if the order should go by shards."""
        self._seed, self._images, self._device = seed, images, device
        self._shards_N = shards_N
        self.count = max(min(2, images), round(share * images))
        """Images per epoch; batch norm needs two."""
        self._losses_N = torch.full((images,), torch.inf, device=device)
        self._order_M = torch.zeros(self.count, dtype=torch.int64, device=device)
        self._fresh_M = torch.zeros(self.count, device=device)
        """This epoch's losses in its order. ``_fresh`` are those not yet in ``_losses_N``."""
        self._fresh = slice(0, 0)

    @property
    def chooses(self) -> bool:
        """Whether some images are left out, so that ``note`` needs the losses."""
        return self.count < self._images

    def order(self, epoch: int, *, begun: bool) -> Tensor:
        """Return the order, int64 M on the training device; unchanged for an epoch that has
        ``begun``."""
        if begun and self.chooses:
            return self._order_M
        if self._shards_N is None:
            order_N = epoch_order(self._images, self._seed, epoch)
        else:
            order_N = order_in_shards(self._shards_N, self._seed, epoch)
        order_N = order_N.to(self._device)
        if not self.chooses:
            return order_N
        self._settle()
        chosen_N = torch.zeros(self._images, dtype=torch.bool, device=self._device)
        hardest_N = self._losses_N[order_N].argsort(descending=True, stable=True)
        chosen_N[hardest_N[: (self.count + 1) // 2]] = True
        others = (~chosen_N).nonzero().flatten()[: self.count // 2]
        chosen_N[others] = True
        self._order_M = order_N[chosen_N]
        return self._order_M

    def note(self, first: int, losses_B: Tensor) -> None:
        """Store the losses of the images just trained on, which begin at ``first`` in the epoch's
        order. ``_settle`` later sorts them by image, once."""
        end = first + len(losses_B)
        self._fresh_M[first:end] = losses_B
        self._fresh = slice(self._fresh.start if self._fresh.stop == first else first, end)

    def _settle(self) -> None:
        rows_M = self._order_M[self._fresh]
        self._losses_N[rows_M] = self._fresh_M[self._fresh]
        self._fresh = slice(0, 0)

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs."""
        if not self.chooses:
            return {}
        self._settle()
        return {"losses": self._losses_N, "order": self._order_M}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state`` returned. Raises ``ValueError`` if it does not fit."""
        for name, place in self.state().items():
            found = state.get(name)
            if found is None or (found.shape, found.dtype) != (place.shape, place.dtype):
                raise ValueError(
                    f"the saved state does not belong to this run: its {name} does not match"
                )
            if name == "order" and not bool(((found >= 0) & (found < self._images)).all()):
                raise ValueError(
                    "the saved state does not belong to this run: its order is out of range"
                )
            place.copy_(found)
