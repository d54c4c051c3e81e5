"""Settings fixed for a run are restored afterwards, however the run ended."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from firstlight.devices import repeatable

MEMORY: Any = torch.utils.deterministic


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    MEMORY.fill_uninitialized_memory = True


def test_threads_are_the_callers_again_also_after_an_error() -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyError), repeatable(1, "cpu"):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("warn_only", [True, False])
def test_a_gpu_computes_deterministically_and_the_callers_choice_comes_back(
    strict: bool, warn_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # the caller's own setting stays
    torch.use_deterministic_algorithms(strict, warn_only=warn_only)
    MEMORY.fill_uninitialized_memory = True
    before = torch.is_deterministic_algorithms_warn_only_enabled()
    with pytest.raises(KeyError), repeatable(1, "cuda"):
        assert torch.are_deterministic_algorithms_enabled()
        assert not MEMORY.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
        raise KeyError
    assert torch.are_deterministic_algorithms_enabled() == strict
    assert torch.is_deterministic_algorithms_warn_only_enabled() == before
    assert MEMORY.fill_uninitialized_memory


def test_a_gpu_computes_float32_without_tf32_and_the_callers_choice_comes_back() -> None:
    backends: Any = torch.backends
    kinds = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    assert before[0] == "tf32", "PyTorch's default"
    with pytest.raises(KeyError), repeatable(1, "cuda"):
        assert [kind.fp32_precision for kind in kinds] == ["ieee"] * 3
        assert not torch.backends.cudnn.allow_tf32
        with torch.backends.cudnn.flags(enabled=False):
            pass
        raise KeyError
    assert [kind.fp32_precision for kind in kinds] == before
    assert torch.backends.cudnn.allow_tf32, "the former name can be read again"
    with repeatable(1, "cpu"):
        assert [kind.fp32_precision for kind in kinds] == before


def test_a_caller_may_have_set_kinds_of_float32_apart() -> None:
    backends: Any = torch.backends
    conv, rnn = backends.cudnn.conv, backends.cudnn.rnn
    conv.fp32_precision = "ieee"
    try:
        with repeatable(1, "cuda"):
            assert conv.fp32_precision == "ieee"
        assert (conv.fp32_precision, rnn.fp32_precision) == ("ieee", "tf32")
    finally:
        conv.fp32_precision = "tf32"
