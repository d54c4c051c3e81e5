"""The pretended device is as strict as PyTorch documents the real ones to be."""

from collections.abc import Callable

import pytest
import torch
from tests.pretend_device import (
    CaptureError,
    Device,
    FrozenError,
    MixedDevicesError,
    UnsupportedError,
    pretended,
)
from torch import Generator, Tensor


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_numbers_come_back_as_the_cpu_computes_them(name: str) -> None:
    values = torch.arange(6.0).reshape(2, 3)
    with pretended(name):
        there = values.to(name)
        assert there.device.type == name
        assert (there @ there.T + 1).cpu().tolist() == (values @ values.T + 1).tolist()
        there[0] = 7
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]], "a copy, not the same memory"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_two_devices_do_not_mix(name: str) -> None:
    with pretended(name):
        there, here = torch.ones(3, device=name), torch.ones(3)
        with pytest.raises(MixedDevicesError):
            there + here
        with pytest.raises(MixedDevicesError):
            torch.rand(3, device=name, generator=Generator())
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


ASKED: list[tuple[Callable[[Tensor], object], int]] = [
    (lambda there: there + 1, 0),
    (lambda there: there[1:], 0),
    (lambda there: torch.zeros(4, device=there.device), 0),
    (lambda there: torch.ones(4).to(there.device, non_blocking=True), 0),
    (lambda there: torch.ones(4).to(there.device), 1),
    (lambda there: there.new_tensor([1.0, 2.0]), 1),
    (lambda there: torch.tensor(1.0, device=there.device), 1),
    (lambda there: there.cpu(), 1),
    (lambda there: there.tolist(), 1),
    (lambda there: float(there[0]), 1),
    (lambda there: bool((there > 0).all()), 1),
    (lambda there: there.nonzero(), 1),
    (lambda there: there[there > 0], 1),
]
"""What is asked of a tensor on CUDA, and how often the processor waits: as
``torch.cuda.set_sync_debug_mode`` warns."""


@pytest.mark.parametrize(("asked", "waits"), ASKED)
def test_waits_are_noted(asked: Callable[[Tensor], object], waits: int) -> None:
    with pretended("cuda") as on:
        there = torch.ones(3, device="cuda")
        on.events.clear()
        asked(there)
    assert len(on.of_kind("wait")) == waits


def test_a_launch_is_one_operation_that_is_no_view() -> None:
    with pretended("cuda") as on:
        there = torch.ones(2, 3, device="cuda")
        on.events.clear()
        (there.T[0] * 2).relu()
    assert [event.operation for event in on.of_kind("launch")] == [
        "aten.mul.Tensor",
        "aten.relu.default",
    ]


def refused(on: Device, work: Callable[[], object]) -> None:
    with pytest.raises(UnsupportedError):
        work()


def test_mps_has_neither_float64_nor_lapack() -> None:
    with pretended("mps") as on:
        there = torch.eye(3).to("mps")
        refused(on, there.double)
        refused(on, lambda: torch.ones(3, dtype=torch.float64).to("mps"))
        refused(on, lambda: torch.rand(3, dtype=torch.float64, device="mps"))
        refused(on, lambda: torch.linalg.eigh(there))
        assert there.cpu().double().dtype == torch.float64
    with pretended("cuda"):
        assert torch.eye(3).to("cuda").double().dtype == torch.float64


def test_what_waits_cannot_be_recorded() -> None:
    with pretended("cuda") as on:
        there = torch.ones(3, device="cuda")
        with on.capturing():
            there.add_(1)
            with pytest.raises(CaptureError):
                there.tolist()
        assert there.tolist() == [2, 2, 2]


@pytest.mark.parametrize("more", [0.0, 1.0])
def test_a_graph_repeats_the_numbers_of_its_recording(more: float) -> None:
    with pretended("cuda") as on:
        there, number = torch.ones(3, device="cuda"), 1.0
        replay, (result,) = on.recorded(lambda: (there + number,), [])
        number += more
        if more:
            with pytest.raises(FrozenError, match=r"1\.0.* now .*2\.0"):
                replay()
        else:
            there.fill_(5)
            replay()
            assert result.tolist() == [6, 6, 6]


def test_a_graph_reads_the_memory_of_its_recording() -> None:
    with pretended("cuda") as on:
        there, rate = torch.ones(3, device="cuda"), torch.ones((), device="cuda")
        replay, (result,) = on.recorded(lambda: ((there + 1) * rate,), [])
        rate.fill_(2)
        replay()
        assert result.tolist() == [4, 4, 4]
        rate = torch.ones((), device="cuda")
        with pytest.raises(FrozenError):
            replay()


def test_a_graph_draws_only_from_generators_that_it_knows() -> None:
    with pretended("cuda") as on:
        rng = on.generator()

        def work() -> tuple[Tensor]:
            return (torch.rand(3, device="cuda", generator=rng),)

        with pytest.raises(CaptureError, match="generator"):
            on.recorded(work, [])
        replay, (result,) = on.recorded(work, [rng])
        drawn = []
        for seed in (1, 2, 1):
            rng.manual_seed(seed)
            replay()
            drawn.append(result.tolist())
        assert drawn[0] == drawn[2] != drawn[1]
        with on.capturing(), pytest.raises(CaptureError, match="seed"):
            rng.manual_seed(1)
