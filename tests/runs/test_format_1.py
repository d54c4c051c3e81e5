"""Runs of format 1, which nothing writes any more, are opened, and resumed where they stopped.

``format1`` holds two runs of the last version that wrote it. Each was stopped by SIGTERM in its
fifth of eight epochs; ``finished.safetensors`` is the result of the same run without a stop.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import firstlight as fl
from firstlight.runs.checkpoint import MODEL_FILE, load_model
from firstlight.runs.folder import RunFolder

KEPT = Path(__file__).parent / "format1"


@pytest.mark.parametrize("name", ["whitened", "tutorial"])
def test_a_stopped_run_is_resumed_and_ends_with_the_weights_of_one_never_stopped(
    name: str, tmp_path: Path
) -> None:
    run = tmp_path / name
    shutil.copytree(KEPT / name, run)
    shutil.copy(KEPT / "striped.npz", tmp_path)
    (run / "finished.safetensors").rename(tmp_path / "finished.safetensors")

    fl.resume(run, data=tmp_path / "striped.npz", quiet=True)

    came = load_model(RunFolder(run)).model.state_dict()
    wanted = load_model(RunFolder(tmp_path), file="finished.safetensors").model.state_dict()
    assert list(came) == list(wanted)
    for tensor, number in wanted.items():
        # Equal to the bit on the processor that trained both; others round differently.
        torch.testing.assert_close(came[tensor], number, rtol=1e-3, atol=1e-5, msg=tensor)


@pytest.mark.parametrize("name", ["whitened", "tutorial"])
def test_weights_of_format_1_are_opened_each_tensor_in_its_place(name: str, tmp_path: Path) -> None:
    shutil.copy(KEPT / name / "finished.safetensors", tmp_path / MODEL_FILE)
    former = load_file(tmp_path / MODEL_FILE)
    now = load_model(RunFolder(tmp_path)).model.state_dict()
    places = {
        "whitened": {
            "stem.weight": "whiten1.weight",
            "groups.0.widen.weight": "conv1.weight",
            "groups.0.norm1.running_var": "batch_norm1.running_var",
            "groups.1.deepen.weight": "conv4.weight",
            "groups.1.norm2.bias": "batch_norm4.bias",
            "logits.weight": "dense1.weight",
        },
        "tutorial": {
            "convolutions.0.weight": "conv1.weight",
            "convolutions.1.bias": "conv2.bias",
            "hidden.weight": "dense1.weight",
            "logits.bias": "dense2.bias",
        },
    }[name]
    assert len(former) == len(now)
    for before, after in places.items():
        assert torch.equal(former[before], now[after]), before
