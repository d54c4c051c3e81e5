"""Pictures are split the same way at every size, so that runs at different sizes are measured on
the same pictures."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firstlight.data.decoded import decode_into
from firstlight.data.own import Form, load_own
from firstlight.data.pictures import PictureSource
from firstlight.data.split import folds, hold_out

FORMS = (Form(size=32), Form(size=48), Form(shape=(64, 64, 3)), Form(shape=(40, 30, 1)))


def noise(count: int, side: int = 50) -> np.ndarray:
    """Return pictures of which no two are similar, coarse enough to stay so when they are small."""
    rng = np.random.default_rng(7)
    coarse_NHWC = rng.integers(0, 256, (count, 10, 10, 3), dtype=np.uint8)
    return coarse_NHWC.repeat(side // 10, axis=1).repeat(side // 10, axis=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for at, image_HWC in enumerate(noise(60)):
        place = tmp_path / "set" / ("one", "other")[at % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HWC).save(place / f"{at}.png")
    return tmp_path / "set"


def test_a_folder_has_the_same_parts_in_every_size(folder: Path) -> None:
    found = []
    for form in FORMS:
        train, test = load_own(folder, form)
        kept_N, held_N = hold_out(train, 0.1)
        fold_N = folds(train, 5)
        assert train.names is not None and test.names is not None
        names = np.array(train.names)
        found.append(
            (
                sorted(test.names),
                names[kept_N].tolist(),
                names[held_N].tolist(),
                dict(zip(train.names, fold_N.tolist(), strict=True)),
                sorted(train.take(np.arange(20)).take(np.arange(10)).names or ()),
            )
        )
    assert all(one == found[0] for one in found[1:])


def test_the_order_of_content_is_that_of_the_pictures_before_they_are_resized(
    folder: Path,
) -> None:
    digests = {
        f"{('one', 'other')[at % 2]}/{at}.png": blake2b(image.tobytes(), digest_size=16).digest()
        for at, image in enumerate(noise(60))
    }
    train, _ = load_own(folder, FORMS[0])
    assert train.names is not None
    in_order = [digests[train.names[at]] for at in train.content_order.tolist()]
    assert in_order == sorted(in_order)


def test_arrays_have_the_same_parts_in_every_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Random labels, so that their order shows which images are where.
    labels = np.random.default_rng(3).integers(0, 2, 60)
    np.savez(tmp_path / "own.npz", images=noise(60), labels=labels)
    found = []
    for form in (Form(), *FORMS):
        train, test = load_own(tmp_path / "own.npz", form)
        parts = (train.labels_N[rows_N].tolist() for rows_N in hold_out(train, 0.1))
        found.append((*parts, test.labels_N.tolist()))
    assert all(one == found[0] for one in found[1:])


def test_a_grey_picture_is_the_same_in_one_channel_and_in_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    grey_NHW = noise(40)[..., 0]
    found = []
    for mode in ("L", "RGB"):
        for at, image_HW in enumerate(grey_NHW):
            place = tmp_path / mode / ("one", "other")[at % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image_HW).convert(mode).save(place / f"{at}.png")
        train, test = load_own(tmp_path / mode, Form(size=32))
        found.append((train.names, test.names))
    assert found[0] == found[1]


def test_a_large_photograph_has_one_name_in_every_size(tmp_path: Path) -> None:
    """Large pictures keep more detail at large sizes."""
    rng = np.random.default_rng(2)
    rough = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    rough.resize((5000, 4000)).save(tmp_path / "large.jpg")
    source = PictureSource(name="large", content=tmp_path / "large.jpg")
    names = {
        decode_into(tmp_path / f"{side}", [source], (side, side, 3)).origins
        for side in (64, 224, 400, 512)
    }
    assert len(names) == 1
