"""Corruptions compared with arithmetic by hand and Pillow; accuracies of networks with known
answers."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.kit import striped

import firstlight as fl
from firstlight.evaluate.robustness import STRENGTHS, corrupt, measure_robustness
from firstlight.runs.folder import RunFolder
from firstlight.verbs import robustness as verb

UInt8Array = npt.NDArray[np.uint8]
SHAPES = [(5, 24, 30, 3), (4, 28, 28, 1)]


def noise(*shape: int) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", STRENGTHS)
def test_a_corruption_keeps_the_form_leaves_its_input_and_repeats(
    kind: str, shape: tuple[int, ...]
) -> None:
    images = noise(*shape)
    before = images.copy()
    for strength in (1, 5):
        changed = corrupt(images, kind, strength)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        assert not np.array_equal(changed, images)
        assert np.array_equal(changed, corrupt(images, kind, strength))
    assert np.array_equal(images, before)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_a_greater_strength_takes_an_image_further(kind: str) -> None:
    rng = np.random.default_rng(1)
    coarse = [Image.fromarray(rng.integers(0, 256, (7, 7), dtype=np.uint8)) for _ in range(30)]
    smooth = np.stack([np.asarray(c.resize((28, 28), Image.Resampling.BICUBIC)) for c in coarse])
    images = smooth[..., None]
    off = [np.abs(corrupt(images, kind, s).astype(float) - images).mean() for s in (1, 2, 3, 4, 5)]
    assert off == sorted(off)


def test_a_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    """One bright pixel moves by about a tenth of the side, and nothing is lost."""
    images = np.zeros((40, 50, 50, 1), np.uint8)
    images[:, 25, 25] = 255
    places = np.argwhere(corrupt(images, "shift", 5)[..., 0] == 255)
    assert len(places) == 40
    distances = np.hypot(*(places[:, 1:] - 25).T)
    assert np.abs(distances - 0.20 * 50).max() < 1
    edge = np.zeros((6, 20, 20, 1), np.uint8)
    edge[:, :, :10] = 200
    moved = corrupt(edge, "shift", 5)[..., 0]
    assert set(np.unique(moved)) <= {0, 200}
    assert (moved[:, :, 0] == 200).all() and (moved[:, :, -1] == 0).all()


def test_shifts_and_rotations_go_in_all_directions() -> None:
    images = np.zeros((60, 41, 41, 1), np.uint8)
    images[:, 20, 20] = 255
    moved = np.argwhere(corrupt(images, "shift", 5)[..., 0] == 255)[:, 1:] - 20
    assert {(bool(down > 0), bool(right > 0)) for down, right in moved} == {
        (down, right) for down in (False, True) for right in (False, True)
    }
    images[:, 20, 20], images[:, 18:23, 30:] = 0, 255  # a mark at the right
    turned = corrupt(images, "rotation", 5)[..., 0] > 128
    lower = turned[:, 21:].sum(axis=(1, 2)) > turned[:, :20].sum(axis=(1, 2))
    assert 15 < lower.sum() < 45  # binomial, 30 ± 4


def test_contrast_and_noise_by_hand() -> None:
    image = np.array([[[[0], [100]], [[200], [100]]]], np.uint8)  # mean 100
    assert corrupt(image, "contrast", 2).ravel().tolist() == [50, 100, 150, 100]
    grey = np.full((20, 30, 30, 3), 128, np.uint8)
    deviation = corrupt(grey, "noise", 2).astype(float).std()
    assert deviation == pytest.approx(0.08 * 255, rel=0.02)  # 54,000 draws: 0.3 %


def test_jpeg_is_pillow_s_own() -> None:
    (image,) = noise(1, 24, 32, 3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=10)
    assert np.array_equal(corrupt(image[None], "JPEG", 5)[0], np.asarray(Image.open(file)))


def test_a_turned_disc_stays_and_a_bar_does_not() -> None:
    y, x = np.mgrid[:41, :41] - 20
    disc = np.where(np.hypot(x, y) < 12, 255, 0).astype(np.uint8)[None, ..., None]
    bar = np.where(np.abs(y) < 3, 255, 0).astype(np.uint8)[None, ..., None]
    assert (np.abs(corrupt(disc, "rotation", 5).astype(int) - disc) > 128).mean() < 0.01
    assert (np.abs(corrupt(bar, "rotation", 5).astype(int) - bar) > 128).mean() > 0.05


def test_accuracies_are_those_of_a_network_whose_answers_are_known() -> None:
    """It tells bright images from dark ones. Only contrast, which moves pixels towards each image's
    own mean, and shifts leave every answer unchanged. A network that always says 0 is right half
    the time."""
    images = np.zeros((20, 24, 24, 1), np.uint8)
    images[::2] = 180
    labels = np.arange(20) % 2

    def by_brightness(batch: UInt8Array) -> npt.NDArray[np.float32]:
        bright = batch.mean(axis=(1, 2, 3)) > 90
        return np.stack([bright, ~bright], axis=1).astype(np.float32)

    found = measure_robustness(images, lambda some: by_brightness(some).argmax(axis=1) == labels)
    assert found.images == 20 and list(found.curves) == list(STRENGTHS)
    for points in found.curves.values():
        assert [p.strength for p in points] == [0, 1, 2, 3, 4, 5]
        assert points[0].amount == 0
        assert all(p.accuracy == 1 for p in points)
        assert points[0].interval == pytest.approx((0.8389, 1.0), abs=1e-4)  # Wilson, 20 of 20

    def always_first(batch: UInt8Array) -> npt.NDArray[np.float32]:
        return np.tile(np.array([[1, 0]], np.float32), (len(batch), 1))

    told: list[tuple[int, int]] = []
    half = measure_robustness(
        images,
        lambda some: always_first(some).argmax(axis=1) == labels,
        lambda *one: told.append(one),
    )
    assert told == [(20 * n, 20 * 31) for n in range(1, 32)], "as they are, and six times five"
    assert {p.accuracy for points in half.curves.values() for p in points} == {0.5}


def test_of_large_images_fewer_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = striped()
    run = fl.train(data, "digits-tutorial", epochs=1, out=tmp_path / "run", quiet=True)
    folder = RunFolder(run.path)
    for name, most in (("MOST_IMAGES", 9), ("MOST_LARGE", 7)):
        monkeypatch.setattr(verb, name, most)
    assert verb.robustness(folder, device="cpu", data=data).images == 9
    monkeypatch.setattr(verb, "LARGE", 10)
    assert verb.robustness(folder, device="cpu", data=data).images == 7
