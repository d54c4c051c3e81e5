"""Pictures by a pretrained network's features: swapped labels and altered copies are found.

The backbone is a stand-in whose features are the mean colours of a picture. The classes are
colours, so that the expected findings are known.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.backbones.conftest import TINY
from tests.data.test_altered import photographs
from tests.kit import Command

from firstlight import backbones
from firstlight.backbones.weights import fetch_backbone
from firstlight.data.dataset import Dataset
from firstlight.data.moved import moved_copies
from firstlight.data.split import folds
from firstlight.explain.plane import neighbourhoods
from firstlight.progress import CountingBar
from firstlight.verbs import check, feature_view, labels, picture_features, picture_map
from firstlight.verbs.feature_view import FeatureView, copies_by_features
from firstlight.verbs.labels import out_of_fold_heads

QUIET = partial(CountingBar, quiet=True)
COLOURS = {"red": (190, 70, 70), "green": (70, 170, 70), "blue": (70, 70, 190)}
EXCHANGED = {"red/7.png": "green", "green/3.png": "blue", "blue/11.png": "red"}


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a network of three filters, each of which passes one colour through."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(backbones.BACKBONES, "tiny", replace(TINY, side=24))
    filters = torch.zeros(4, 3, 3, 3)
    filters[[0, 1, 2], [0, 1, 2], 1, 1] = 1.0
    tensors = {"stem.weight": filters, "fc.weight": torch.zeros(5, 4), "fc.bias": torch.zeros(5)}
    save_file(tensors, tmp_path / "tiny.safetensors")
    fetch_backbone("tiny", tmp_path / "tiny.safetensors")
    for module in (check, picture_map):
        monkeypatch.setattr(module, "backbone_here", lambda: "tiny")
    return "tiny"


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """Create 30 pictures of each colour on noise, three of them in another colour's folder."""
    rng = np.random.default_rng(0)
    for name in COLOURS:
        for i in range(30):
            file = f"{name}/{i}.png"
            coarse = rng.normal(COLOURS[EXCHANGED.get(file, name)], 40, (6, 6, 3))
            picture = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            picture.resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / "set" / file)
    return tmp_path / "set"


def test_exchanged_labels_are_found_by_features_and_the_way_is_said(
    command: Command, backbone: str, coloured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "out_of_fold", lambda *_: pytest.fail("networks are trained"))
    done = command("data", "check", coloured, "--labels", "--json")
    assert done.code == 0, done.err
    (doubtful,) = [f for f in json.loads(done.out)["findings"] if f["kind"] == "doubtful label"]
    assert {s["name"]: s["suggested"] for s in doubtful["suspects"]} == EXCHANGED
    assert "Linear classifiers on the features of tiny" in doubtful["text"]
    assert "agree with 96.7 % of the labels" in doubtful["text"]


def test_wrong_ones_of_several_labels_are_found_and_marked_on_the_map(
    command: Command, backbone: str, tmp_path: Path
) -> None:
    """Each picture has any of the colours; three labels are wrong."""
    rng, names = np.random.default_rng(0), [*COLOURS]
    wrong, rows = {7: 0, 13: 1, 40: 2}, ["path,labels"]
    (tmp_path / "set").mkdir()
    suspects = {}
    for i in range(90):
        has = rng.random(3) < 0.5
        coarse = rng.normal(70 + 120 * has, 40, (6, 6, 3))
        picture = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
        picture.resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / "set" / f"{i}.png")
        if i in wrong:
            k = wrong[i]
            suspects[f"{i}.png"] = names[k] if has[k] else f"without {names[k]}"
            has[k] = not has[k]
        rows.append(f"{i}.png,{';'.join(np.array(names)[has]) or '[]'}")
    file = tmp_path / "set" / "all.csv"
    file.write_text("\n".join(rows))
    words = ("--labels", "--map", "map.html", "--page", "page.html")
    done = command("data", "check", file, *words)
    assert done.code == 0, done.err
    assert "3 labels of 3 pictures may be wrong" in done.out
    for name, suggested in suspects.items():
        assert f"→ {suggested} (" in next(s for s in done.out.splitlines() if f" {name}: " in s)
    page, drawn = Path("page.html").read_text(), Path("map.html").read_text()
    assert all(name in page and name in drawn for name in suspects)
    assert "shows the labels" in drawn and "blue;green" not in drawn.split("The map")[0]


def test_a_second_check_finds_the_features_in_the_cache(
    backbone: str, coloured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = feature_view.compute_features(coloured, backbone, QUIET)
    monkeypatch.setattr(picture_features, "extract", lambda *_, **__: pytest.fail("computed again"))
    again = feature_view.compute_features(coloured, backbone, QUIET)
    assert np.array_equal(first.features_NF, again.features_NF)
    assert first.data.names == again.data.names
    # The means of red, green and blue, computed by NumPy.
    means_NC = (first.data.images_NHWC[:] / 255.0).mean(axis=(1, 2))
    for ours_N, mean_N in zip(first.features_NF[:, :3].T, means_NC.T, strict=True):
        assert np.corrcoef(ours_N, mean_N)[0, 1] > 0.9


def test_after_a_label_was_corrected_nothing_is_computed_again(
    backbone: str, coloured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = feature_view.compute_features(coloured, backbone, QUIET)
    (coloured / "red/7.png").rename(coloured / "green/first.png")
    monkeypatch.setattr(picture_features, "extract", lambda *_, **__: pytest.fail("computed again"))
    again = feature_view.compute_features(coloured, backbone, QUIET)
    before = {
        p.tobytes(): f for p, f in zip(first.data.images_NHWC, first.features_NF, strict=True)
    }
    assert len(before) == len(first.data), "no two pictures are the same"
    assert again.data != first.data
    for image_HWC, features_F in zip(again.data.images_NHWC, again.features_NF, strict=True):
        assert np.array_equal(features_F, before[image_HWC.tobytes()])


def test_no_head_has_seen_the_pictures_it_judges() -> None:
    rng = np.random.default_rng(0)
    noise = Dataset(
        name="noise",
        images_NHWC=rng.integers(0, 256, (96, 4, 4, 1), dtype=np.uint8),
        labels_N=np.arange(96) % 2,
        class_names=("heads", "tails"),
    )
    by_heart_NF = np.eye(96, dtype=np.float32)  # a network that saw a picture would memorize it
    found_NK, notes = out_of_fold_heads(noise, by_heart_NF)
    assert notes == ()
    assert np.allclose(found_NK.sum(axis=1), 1)
    assert (found_NK.argmax(axis=1) == noise.labels_N).mean() < 0.75
    # Copies reveal each other's label if they are in two folds.
    pairs_NF = by_heart_NF[np.arange(96) // 4 * 4 + np.arange(96) % 2]
    grouped = replace(noise, groups_N=np.arange(96) // 4 * 4 + np.arange(96) % 2)
    assert len(np.unique(folds(grouped, 4)[[0, 2]])) == 1
    found_NK, _ = out_of_fold_heads(grouped, pairs_NF)
    assert (found_NK.argmax(axis=1) == noise.labels_N).mean() < 0.75
    found_NK, _ = out_of_fold_heads(noise, pairs_NF)
    assert (found_NK.argmax(axis=1) == noise.labels_N).mean() > 0.8


def test_drawings_are_judged_by_networks_and_so_is_all_without_a_backbone(
    command: Command, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.datasets import load_digits

    every = load_digits()
    for label in (0, 1):
        (tmp_path / "digits" / str(label)).mkdir(parents=True)
        for at in np.flatnonzero(every.target == label)[:20]:
            picture = Image.fromarray((every.images[at] * 15).astype(np.uint8))
            picture.save(tmp_path / "digits" / str(label) / f"{at}.png")

    def certain(data: Dataset, *_: object) -> np.ndarray:
        return np.eye(2)[data.labels_N] * 0.98 + 0.01

    monkeypatch.setattr(labels, "out_of_fold", certain)
    done = command("data", "check", tmp_path / "digits", "--labels")
    assert "because tiny was trained on photographs" in done.out, done.err
    monkeypatch.setattr(check, "backbone_here", lambda: "")
    done = command("data", "check", tmp_path / "digits", "--labels")
    assert "firstlight backbones fetch efficientnet_lite0" in done.out


def test_turned_copies_are_found_and_listed_and_no_stranger_is(
    command: Command, backbone: str, tmp_path: Path
) -> None:
    wanted = set()
    for part, seed in (("train", 1), ("test", 2)):
        for label, images_NHWC in zip("ab", np.split(photographs(80, 64, seed), 2), strict=True):
            (tmp_path / "set" / part / label).mkdir(parents=True)
            for i, image_HWC in enumerate(images_NHWC):
                Image.fromarray(image_HWC).save(tmp_path / f"set/{part}/{label}/{i}.png")
    for i in range(6):
        one = Image.open(tmp_path / f"set/test/a/{i}.png")
        file = f"train/a/turned {i}.png"
        one.rotate(25 + 50 * i, Image.Resampling.BICUBIC).save(tmp_path / "set" / file)
        wanted.add((f"test/a/{i}.png", file))
    done = command("data", "check", tmp_path / "set", "--labels", "--json", "--page", "page.html")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    (moved,) = [f for f in found["findings"] if f["kind"] == "cropped or turned"]
    pairs = {tuple(sorted(group)) for group in moved["groups"]}
    assert pairs <= wanted
    assert len(pairs) >= 4
    assert set(moved["exclude"]) == {learnt for _, learnt in pairs}
    assert moved["severe"]
    assert "test/a/1.png" in Path("page.html").read_text()


def test_crops_at_a_corner_are_found_by_features_and_only_where_the_pixels_agree() -> None:
    images_NHWC = photographs(120, 64)
    crops = [
        Image.fromarray(one).crop((*corner, corner[0] + 44, corner[1] + 44)).resize((64, 64))
        for one, corner in zip(images_NHWC[:10], [(0, 0), (20, 20), (0, 20)] * 4, strict=False)
    ]
    features_NF = np.random.default_rng(0).normal(size=(130, 64)).astype(np.float32)
    features_NF[120:] = features_NF[:10] + 0.1  # similar, as a backbone's would be
    features_NF[30:60] = features_NF[60:90] + 0.1  # also for different pictures
    data = Dataset(
        name="set",
        images_NHWC=np.concatenate([images_NHWC, np.stack([np.asarray(c) for c in crops])]),
        labels_N=np.zeros(130, np.int64),
        class_names=("a",),
    )
    pairs = copies_by_features(
        FeatureView(backbone="b", data=data, features_NF=features_NF, warnings=())
    )
    assert set(pairs) <= {(i, 120 + i) for i in range(10)}
    assert len(pairs) >= 8
    assert moved_copies(data.images_NHWC, [(i, 30 + i) for i in range(30)]) == []


def test_on_the_map_pictures_of_one_colour_lie_together_and_suspects_are_listed(
    command: Command, backbone: str, coloured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("data", "check", coloured, "--labels", "--map", "map.html")
    assert done.code == 0, done.err
    assert "map map.html" in done.out
    page = Path("map.html").read_text()
    assert all(f">{name}</td>" in page for name in EXCHANGED)
    assert "http" not in page.replace("http-equiv", "")
    legend = page.partition('<ul class="legend">')[2].partition("</ul>")[0]
    assert [line.rpartition("</svg>")[2] for line in legend.split("</li>")[:-1]] == [
        "blue",
        "green",
        "red",
    ]
    found = feature_view.compute_features(coloured, backbone, QUIET)
    places_N2 = neighbourhoods(found.features_NF)
    assert np.array_equal(places_N2, neighbourhoods(found.features_NF))
    names = found.data.names
    assert names is not None
    colour_N = np.array([EXCHANGED.get(name, name.partition("/")[0]) for name in names])
    apart_NN = np.linalg.norm(places_N2[:, None] - places_N2, axis=2)
    np.fill_diagonal(apart_NN, np.inf)
    assert (colour_N[apart_NN.argmin(axis=1)] == colour_N).mean() > 0.9
    monkeypatch.setattr(picture_map, "backbone_here", lambda: "")
    done = command("data", "check", coloured, "--map", "map.html")
    assert (done.code, done.out) == (2, "")
    assert "firstlight backbones fetch efficientnet_lite0" in done.err


@pytest.mark.parametrize("count", [1, 2, 5, 12, 20])
def test_a_map_of_few_pictures_has_a_place_for_each(count: int) -> None:
    features_NF = np.random.default_rng(0).normal(size=(count, 30)).astype(np.float32)
    assert neighbourhoods(features_NF).shape == (count, 2)
    assert np.isfinite(neighbourhoods(features_NF)).all()
