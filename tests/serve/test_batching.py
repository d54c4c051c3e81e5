"""The queue alone: which requests are computed together, and who gets which answer."""

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from firstlight.serve.batching import PASSES, Batcher
from firstlight.serve.limits import RefusedError

Array = npt.NDArray[np.uint8]


class Network:
    """Returns the sum of each image; the first pass waits until it is released."""

    def __init__(self) -> None:
        self.sizes, self.begun, self.release = list[int](), threading.Event(), threading.Event()

    def compute(self, images_NHWC: Array) -> npt.NDArray[np.float32]:
        self.sizes.append(len(images_NHWC))
        self.begun.set()
        assert self.release.wait(60)
        sums_N: npt.NDArray[np.float32] = images_NHWC.sum(axis=(1, 2, 3), dtype=np.float32)
        return sums_N[:, None]


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(threads=1, room=200)
    batcher.start()
    yield batcher
    batcher.close()


def images(count: int, value: int) -> Array:
    return np.full((count, 1, 2, 1), value, dtype=np.uint8)


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 60)


def test_what_waits_is_computed_together_in_few_sizes_and_each_gets_its_own(
    batcher: Batcher,
) -> None:
    """Each size costs memory in the processor's library, so arbitrary sizes would look like a
    leak."""
    network, other = Network(), Network()
    other.release.set()
    counts = [1] * 29 + [37, 5, 1, 20, 7]

    async def ask() -> list[npt.NDArray[np.float32]]:
        first = asyncio.create_task(batcher.ask(network.compute, images(1, 9)))
        await until(network.begun)
        tasks = [
            asyncio.create_task(batcher.ask(network.compute, images(n, value)))
            for value, n in enumerate(counts)
        ]
        tasks.append(asyncio.create_task(batcher.ask(other.compute, images(3, 50))))
        await asyncio.sleep(0)
        assert batcher.waiting == sum(counts) + 3
        network.release.set()
        return [await task for task in [first, *tasks]]

    rows = asyncio.run(ask())

    wanted = [[[18.0]], *([[2.0 * v]] * n for v, n in enumerate(counts)), [[100.0]] * 3]
    assert [row.tolist() for row in rows] == wanted
    assert network.sizes[0] == 1
    assert set(network.sizes) <= set(PASSES)
    assert len(network.sizes) < 10
    assert other.sizes == [3]


def test_a_crowd_that_the_server_is_still_reading_is_computed_together(batcher: Batcher) -> None:
    """In passes of one or two, an image costs up to four times as much as in a batch of sixteen."""
    network = Network()
    network.release.set()

    async def ask() -> list[npt.NDArray[np.float32]]:
        tasks = []
        for value in range(12):
            tasks.append(asyncio.create_task(batcher.ask(network.compute, images(1, value))))
            await asyncio.sleep(0)  # the server's next round
        return [await task for task in tasks]

    assert [row.tolist() for row in asyncio.run(ask())] == [[[2.0 * value]] for value in range(12)]
    assert network.sizes == [12]


def test_no_more_waits_than_there_is_room_for_and_who_gives_up_is_not_computed(
    batcher: Batcher,
) -> None:
    network = Network()

    async def ask() -> None:
        first = asyncio.create_task(batcher.ask(network.compute, images(1, 0)))
        await until(network.begun)
        gives_up = asyncio.create_task(batcher.ask(network.compute, images(64, 0)))
        stays = asyncio.create_task(batcher.ask(network.compute, images(2, 0)))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refused:
            await batcher.ask(network.compute, images(200, 0))
        assert refused.value.status == 503
        assert refused.value.headers == {"Retry-After": "1"}
        gives_up.cancel()
        await asyncio.sleep(0)
        network.release.set()
        await first
        await stays

    asyncio.run(ask())
    assert network.sizes == [1, 2]


def test_a_network_that_fails_tells_who_asked_and_answers_the_next(batcher: Batcher) -> None:
    def fails(_: Array) -> npt.NDArray[np.float32]:
        raise ValueError("no such layer")

    async def ask() -> None:
        with pytest.raises(ValueError, match="no such layer"):
            await batcher.ask(fails, images(1, 0))
        network = Network()
        network.release.set()
        assert (await batcher.ask(network.compute, images(1, 4))).tolist() == [[8.0]]

    asyncio.run(ask())


def test_closing_answers_what_was_taken(batcher: Batcher) -> None:
    network = Network()

    async def ask() -> None:
        tasks = [
            asyncio.create_task(batcher.ask(network.compute, images(1, value)))
            for value in range(5)
        ]
        await until(network.begun)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        network.release.set()
        await closing
        assert [(await task).item() for task in tasks] == [0, 2, 4, 6, 8]
        with pytest.raises(RefusedError):
            await batcher.ask(network.compute, images(1, 0))

    asyncio.run(ask())
