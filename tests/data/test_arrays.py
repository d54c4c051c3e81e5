"""Arrays, `.npz` files and lists of pictures as data sets."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import firstlight as fl
import firstlight.data.own as own
from firstlight.data.arrays import from_images
from firstlight.data.fixes import Fixes
from firstlight.data.own import load_own
from firstlight.data.packed import read_packed
from firstlight.errors import DataError, UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def noise(count: int, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def saved(file: Path, **arrays: Any) -> Path:
    np.savez(file, **arrays)
    return file


def of_both(data: fl.TrainTest) -> set[tuple[bytes, str]]:
    return {
        (image.tobytes(), part.class_names[label])
        for part in data
        for image, label in zip(part.images_NHWC, part.labels_N, strict=True)
    }


@pytest.mark.parametrize("labels", ["numbers", "names", "column"])
def test_an_npz_keeps_pixels_with_their_labels_and_holds_out_a_share_of_each_class(
    tmp_path: Path, labels: str
) -> None:
    images, classes = noise(40, 30, 34, 3), np.arange(40) % 2
    given: Any = {"numbers": classes, "names": np.array(["7", "9"])[classes]}
    given["column"] = classes[:, None]
    data = load_own(saved(tmp_path / "set.npz", images=images, labels=given[labels]))
    names = ("7", "9") if labels == "names" else ("0", "1")
    assert data.train.class_names == names
    wanted = {(i.tobytes(), names[c]) for i, c in zip(images, classes, strict=True)}
    assert of_both(data) == wanted
    assert np.bincount(data.test.labels_N).tolist() == [3, 3]


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test", None),
        ("train_images", "train_labels", "test_images", "test_labels", "val"),
        ("images_train", "labels_train", "images_test", "labels_test", "valid"),
    ],
)
def test_an_npz_with_parts_keeps_them(tmp_path: Path, keys: tuple[str, ...]) -> None:
    train, test, val = noise(12, 29, 31), noise(7, 29, 31, seed=1), noise(5, 29, 31, seed=2)
    arrays = {keys[0]: train, keys[1]: np.arange(12) % 3}
    arrays |= {keys[2]: test, keys[3]: np.arange(7) % 3}
    if keys[4]:
        arrays |= {keys[0].replace("train", keys[4]): val}
        arrays |= {keys[1].replace("train", keys[4]): np.arange(5) % 3}
    data = load_own(saved(tmp_path / "set.npz", **arrays))
    assert np.array_equal(data.test.images_NHWC[..., 0], test)
    assert np.array_equal(data.train.images_NHWC[:12, :, :, 0], train)
    if keys[4]:
        assert data.train.held_out_N is not None
        assert np.array_equal(data.train.images_NHWC[data.train.held_out_N][..., 0], val)
    else:
        assert data.train.held_out_N is None


def test_a_second_start_reads_no_array_and_changed_contents_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "set.npz", images=noise(20, 28, 28), labels=np.arange(20) % 2)
    first = load_own(file)
    reads = []

    def counted(*given: Any) -> Any:
        reads.append(given)
        return read_packed(*given)

    monkeypatch.setattr(own, "read_packed", counted)
    assert load_own(file).train == first.train
    assert not reads
    saved(file, images=noise(20, 28, 28, seed=5), labels=np.arange(20) % 2)
    assert load_own(file).train != first.train
    assert len(reads) == 1


def test_floats_from_0_to_1_are_levels_of_255() -> None:
    levels = noise(20, 28, 28)
    train, test = from_images(levels / 255, np.arange(20) % 2)
    assert of_both(fl.TrainTest(train, test)) == of_both(from_images(levels, np.arange(20) % 2))
    assert any("0 to 1" in note for note in train.notes)


def test_pictures_of_pillow_are_taken_as_their_files_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pictures, classes = [], []
    for at in range(24):
        mode, side = ("RGB", "RGBA", "L", "P")[at % 4], 30 + at % 5
        coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side + 3, side), Image.Resampling.BICUBIC)
        pictures.append(picture.convert(mode))
        classes.append(("cat", "dog")[at // 12])
        (tmp_path / "set" / classes[-1]).mkdir(parents=True, exist_ok=True)
        pictures[-1].save(tmp_path / "set" / classes[-1] / f"{at:02d}.png")
    from_files = load_own(tmp_path / "set")
    from_memory = from_images(pictures, classes)
    assert of_both(from_memory) == of_both(from_files)
    assert from_memory.train.image_shape == from_files.train.image_shape


def test_size_takes_the_middle_square_of_each_array() -> None:
    images = noise(20, 40, 50, 3)
    data = from_images(images, np.arange(20) % 2, size=32)
    wanted = {
        np.asarray(
            Image.fromarray(one[:, 5:45]).resize((32, 32), Image.Resampling.LANCZOS)
        ).tobytes()
        for one in images
    }
    assert {image for image, _ in of_both(data)} == wanted


def test_class_names_count_from_zero_even_where_a_class_is_absent_from_the_test() -> None:
    names = ("ant", "bee", "cow")
    data = from_images(noise(30, 28, 28), np.arange(30) % 3, class_names=names)
    assert data.train.class_names == names


def test_a_given_set_has_a_recipe_made_for_it(tmp_path: Path) -> None:
    data = from_images(noise(40, 28, 28, 3), np.arange(40) % 2, name="mine")
    run = fl.train(data, epochs=1, out=tmp_path / "run", quiet=True)
    assert run.recipe.name == "own"
    picture = Image.fromarray(data.test.images_NHWC[0])
    assert run.predict([picture])[0].answer is not None
    by_array = run.predict(data.test.images_NHWC[:1])[0]
    assert run.predict(picture)[0].probabilities == by_array.probabilities


LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (noise(20, 28, 28), LABELS[:19], "wanted 20 labels"),
        (noise(20, 28, 28), np.eye(2)[LABELS], "argmax"),
        (noise(20, 28, 28), LABELS + 0.5, "fractions"),
        (noise(20, 28, 28), LABELS * 0, "two classes"),
        (noise(20, 28, 28, 2), LABELS, "channels as the last axis"),
        (noise(20, 28), LABELS, "wanted images N×H×W"),
        (noise(20, 28, 28) * 2.0, LABELS, "0 to 255, floats of 0 to 1"),
        (np.full((20, 28, 28), np.nan), LABELS, "15,680 pixels are infinite or not a number"),
        (["cat.png"] * 20, LABELS, "got str"),
        ([], [], "got none"),
        ([noise(1, 28, 28)[0], noise(1, 0, 3)[0]] * 10, LABELS, "images"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    images: Any, labels: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        from_images(images, labels)


def test_bad_npz_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    whole = io.BytesIO()
    np.savez(whole, images=noise(20, 28, 28), labels=LABELS)
    for content in (b"", b"no zip", whole.getvalue()[:-100], whole.getvalue()[:500]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"set\.npz: cannot be read as \.npz"):
            load_own(file)
    for arrays, message in (
        ({"images": noise(20, 28, 28)}, "images without its counterpart"),
        ({"a": noise(20, 28, 28), "b": LABELS}, "wanted arrays images and labels"),
        ({"x_test": noise(20, 28, 28), "y_test": LABELS}, "wanted arrays images and labels"),
        ({"images": noise(20, 784), "labels": LABELS}, r"a label for each, got images of shape"),
        ({"images": noise(20, 28, 28), "labels": np.array(1)}, r"and labels of shape \(\)"),
        ({"images": noise(0, 28, 28), "labels": LABELS[:0]}, r"of shape \(0, 28, 28\)"),
        ({"images": noise(20, 3, 28, 28), "labels": LABELS}, "transpose it first"),
        (  # as many labels as images, but not in each part
            {"x_train": noise(11, 28, 28), "y_train": LABELS[:9]}
            | {"x_test": noise(9, 28, 28), "y_test": LABELS[:11]},
            r"got x_train of shape \(11, 28, 28\) and y_train of shape \(9,\)",
        ),
        ({"images": np.array([None, 1], dtype=object), "labels": LABELS}, "allow_pickle"),
        (
            {"x_train": noise(9, 28, 28), "y_train": LABELS[:9]}
            | {"x_test": noise(9, 30, 28), "y_test": LABELS[:9]},
            "do not match",
        ),
    ):
        np.savez(file, allow_pickle=True, **arrays)
        with pytest.raises(DataError, match=message):
            load_own(file)
    np.savez(file, images=noise(20, 28, 28), labels=LABELS)
    with pytest.raises(UserError, match="--fixes"):
        load_own(file, fixes=Fixes(left_out=("x",)))


def test_tensors_with_a_gradient_are_taken_as_the_numbers_they_hold() -> None:
    images = np.random.default_rng(0).random((20, 8, 8))
    tensor: Any = torch.tensor(images, requires_grad=True)
    numbers: Any = torch.tensor(np.arange(20) % 2)
    labels = np.arange(20) % 2
    for given, same in ((images, tensor), (list(images), list(tensor))):
        plain, other = from_images(given, labels), from_images(same, numbers)
        assert [part.fingerprint for part in plain] == [part.fingerprint for part in other]


def test_masked_pixels_are_refused() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError, match="got masked pixels"):
        from_images(np.ma.masked_greater(images, 250), np.arange(20) % 2)


def test_classes_that_are_alike_but_for_case_are_warned_of() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    data = from_images(images, ["Cat", "cat"] * 20)
    assert any("'Cat' and 'cat' are treated as different" in one for one in data.train.warnings)
