"""The ONNX file of a small network like DINOv2 gives PyTorch's answers."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Generator

import firstlight as fl
from firstlight.backbones import dino_v2
from firstlight.layers import Attention, ClassToken, LayerScale, Tokens
from firstlight.layers.sequence import written_out
from firstlight.runs.checkpoint import load_model, save_model
from firstlight.runs.folder import RunFolder

SIDE = 42
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Return a run with the layers of ``dino_v2``, 2 blocks and 48 features; layer scale as after
    training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dino_v2, "BLOCKS", 2)
        patch.setattr(dino_v2, "FEATURES", 48)
        layers = list(dino_v2.layers())
    kinds = {type(layer) for layer in written_out(layers)}
    assert kinds >= {Attention, ClassToken, LayerScale, Tokens}
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, SIDE, SIDE, 3), dtype=np.uint8)
    data = fl.from_images(images, [f"class {n % 3}" for n in range(60)], size=SIDE)
    out = tmp_path_factory.mktemp("transformer") / "run"
    made = fl.train(data, network=layers, epochs=1, out=out, quiet=True)
    folder = RunFolder(made.path)
    saved = load_model(folder)
    with torch.no_grad():
        for name, weights in saved.model.named_parameters():
            if "layer_scale" in name or "query" in name or "key" in name:
                weights.copy_(torch.randn(weights.shape, generator=Generator().manual_seed(1)))
    save_model(folder, saved)
    return fl.open_run(made.path, data=data)


def test_an_onnx_file_of_a_transformer_answers_as_pytorch_does(run: fl.Run, tmp_path: Path) -> None:
    out = tmp_path / "transformer.onnx"
    run.export(out=out, accept_loss=True)
    saved = load_model(RunFolder(run.path))
    images = np.random.default_rng(1).integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits_NK = saved.model.eval()(saved.preprocess(torch.from_numpy(images)))
        wanted_NK = (logits_NK / saved.temperature).softmax(dim=1).numpy()

    session = onnxruntime.InferenceSession(out)
    (given,) = session.get_inputs()
    found_NK = session.run(None, {given.name: images})[0]

    np.testing.assert_allclose(found_NK, wanted_NK, atol=TOLERANCE)
    assert wanted_NK.std(axis=0).min() > 10 * TOLERANCE, "images that differ"
