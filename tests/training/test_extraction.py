"""Features computed by the fast method equal those of the original network."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import firstlight as fl
from firstlight.data.stored import StoredImages
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.training import extraction
from firstlight.training.extraction import extract

SIDE = 24
PIXELS = Preprocess(height=SIDE, width=SIDE, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
UInt8Array = npt.NDArray[np.uint8]


def network() -> nn.Module:
    """Return inverted residuals whose batch norms have statistics, as in pretrained backbones."""
    layers = fl.layers
    bottleneck = layers.Residual(
        (
            layers.Conv(32, kernel=1, bias=False),
            layers.BatchNorm(),
            layers.Activation("relu"),
            layers.Conv(32, kernel=3, groups=32, padding="same", bias=False),
            layers.BatchNorm(),
            layers.Activation("relu"),
            layers.Conv(8, kernel=1, bias=False),
            layers.BatchNorm(),
        )
    )
    choice = fl.Network(
        layers=(
            layers.Conv(8, kernel=3, stride=2, bias=False),
            layers.BatchNorm(),
            layers.Activation("relu"),
            bottleneck,
            bottleneck,
            layers.GlobalAveragePool(),
            layers.Dense("classes"),
        ),
        views="mirror",
    )
    model = Architecture(network=choice, image_shape=PIXELS.image_shape, classes=5).build(
        torch.Generator().manual_seed(0)
    )
    model.train()
    with torch.no_grad():
        model(torch.randn(32, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def pictures(count: int = 21) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def before_the_last_dense(model: nn.Module, images_NHWC: UInt8Array) -> npt.NDArray[np.float32]:
    """Return the result of a plain pass through all layers except the last."""
    with torch.no_grad():
        maps = PIXELS(torch.from_numpy(images_NHWC))
        for module in list(model.children())[:-1]:
            maps = module(maps)
    result: npt.NDArray[np.float32] = maps.numpy()
    return result


def cosines(a_NF: npt.NDArray[np.float32], b_NF: npt.NDArray[np.float32]) -> Tensor:
    return torch.nn.functional.cosine_similarity(torch.from_numpy(a_NF), torch.from_numpy(b_NF))


def test_features_are_what_the_last_dense_layer_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images_NHWC = network(), pictures()
    monkeypatch.setattr(extraction, "computes_in_bfloat16", lambda device: False)
    (found_NF,) = extract(model, PIXELS, images_NHWC)
    assert found_NF.dtype == np.float32
    np.testing.assert_allclose(found_NF, before_the_last_dense(model, images_NHWC), atol=1e-5)


def test_the_second_view_is_of_the_mirrored_images() -> None:
    model, images_NHWC = network(), pictures()
    plain_NF, mirrored_NF = extract(model, PIXELS, images_NHWC, mirror=True)
    (again_NF,) = extract(model, PIXELS, images_NHWC[:, :, ::-1])
    assert np.array_equal(mirrored_NF, again_NF)
    assert not np.array_equal(mirrored_NF, plain_NF)


def test_in_bfloat16_they_are_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images_NHWC = network(), pictures()
    monkeypatch.setattr(extraction, "computes_in_bfloat16", lambda device: device == "cpu")
    (found_NF,) = extract(model, PIXELS, images_NHWC)
    wanted_NF = before_the_last_dense(model, images_NHWC)
    assert cosines(found_NF, wanted_NF).min() > 0.995
    rounded = not np.allclose(found_NF, wanted_NF, atol=1e-5)
    assert rounded == torch.ops.mkldnn._is_mkldnn_bf16_supported(), "elsewhere float32 is used"


def test_a_network_that_bfloat16_spoils_is_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fine(nn.Module):
        """Differences far below bfloat16's resolution."""

        def forward(self, maps: Tensor) -> Tensor:
            return (maps + 1000) - 1000

    model = nn.Sequential(nn.Conv2d(3, 8, 5), Fine(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(8, 2))
    monkeypatch.setattr(extraction, "computes_in_bfloat16", lambda device: device == "cpu")
    (found_NF,) = extract(model, PIXELS, pictures())
    wanted_NF = before_the_last_dense(model, pictures())
    np.testing.assert_allclose(found_NF, wanted_NF, atol=1e-3)


def test_a_network_that_cannot_be_copied_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> nn.Module:
        raise RuntimeError("no such operator in this dtype")

    monkeypatch.setattr(extraction, "folded", refuse)
    model = network()
    (found_NF,) = extract(model, PIXELS, pictures())
    np.testing.assert_allclose(found_NF, before_the_last_dense(model, pictures()), atol=1e-5)


def test_code_that_counts_its_modules_is_used_as_it_is() -> None:
    class Counting(nn.Module):
        """Has no module 5 in a copy with folded batch norms."""

        def __init__(self) -> None:
            super().__init__()
            half = [nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU()]
            self.body = nn.Sequential(*half, *half, nn.Flatten())
            self.last = nn.Linear(3 * (SIDE - 4) ** 2, 2)

        def forward(self, maps: Tensor) -> Tensor:
            for number in range(7):
                maps = self.body[number](maps)
            result: Tensor = self.last(maps)
            return result

    model = Counting().eval()
    (found_NF,) = extract(model, PIXELS, pictures())
    with torch.no_grad():
        wanted_NF = model.body(PIXELS(torch.from_numpy(pictures()))).numpy()
    np.testing.assert_allclose(found_NF, wanted_NF, atol=1e-5)


def test_the_bits_depend_on_no_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images_NHWC = network(), pictures(40)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(extraction, "usable_threads", lambda threads=threads: threads)
        found.append(extract(model, PIXELS, images_NHWC))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert torch.get_num_threads() == before


def test_images_on_disk_give_the_same(tmp_path: Path) -> None:
    images_NHWC = pictures()
    file = tmp_path / "pixels"
    file.write_bytes(images_NHWC.tobytes())
    stored = StoredImages(file, images_NHWC.shape)
    model, told = network(), list[tuple[int, int]]()
    found = extract(model, PIXELS, stored, progress=lambda done, of: told.append((done, of)))
    assert np.array_equal(found, extract(model, PIXELS, images_NHWC))
    assert told == [(8, 21), (16, 21), (21, 21)]


def test_the_model_is_left_as_it_was() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    extract(model, PIXELS, pictures(3))
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_error_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = network(), list[int]()
    batch = extraction._Work.batch

    def failing(work: extraction._Work, rows: slice) -> Tensor:
        asked.append(rows.start)
        if rows.start >= 16:
            raise OSError("the disk is gone")
        return batch(work, rows)

    monkeypatch.setattr(extraction._Work, "batch", failing)
    monkeypatch.setattr(extraction, "_AHEAD", 4)
    with pytest.raises(OSError, match="the disk is gone"):
        extract(model, PIXELS, pictures(400))
    assert max(asked) < 100


def test_batches_become_smaller_where_an_accelerator_has_too_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, images_NHWC = network(), pictures(40)
    quick = extraction._quick(model, PIXELS, images_NHWC)
    sizes, batch = list[int](), extraction._Work.batch

    def small(work: extraction._Work, rows: slice) -> Tensor:
        found = batch(work, rows)
        if found.shape[1] > 10:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(found.shape[1])
        return found

    monkeypatch.setattr(extraction._Work, "batch", small)
    monkeypatch.setattr(extraction, "batch_size", lambda device: 64)
    found = extraction._on_accelerator(extraction._Work(quick, PIXELS, images_NHWC, 1), None)
    assert sizes == [1, 8, 8, 8, 8, 8]
    np.testing.assert_allclose(found[0], before_the_last_dense(model, images_NHWC), atol=0.05)


@pytest.mark.parametrize("alike", [extraction.ALIKE, 2.0])
def test_a_network_that_is_set_to_train_looks_as_one_that_answers(
    monkeypatch: pytest.MonkeyPatch, alike: float
) -> None:
    """Also with the plain method: batch norm neither uses the batch nor remembers it."""
    monkeypatch.setattr(extraction, "ALIKE", alike)
    model, images_NHWC = network(), pictures()
    wanted = extract(model, PIXELS, images_NHWC)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    np.testing.assert_array_equal(extract(model, PIXELS, images_NHWC), wanted)
    assert model.training
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
