"""``hf:OWNER/NAME`` against a stand-in of the hub, with files that ``datasets`` wrote; what
huggingface_hub fetches lies in its own cache."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.hub.stand_in import StandIn, serving
from tests.kit import Command

import firstlight as fl
from firstlight.data.hub import sets
from firstlight.errors import DataError, UnreachableError

datasets = pytest.importorskip("datasets")
library = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
IMAGES: npt.NDArray[np.uint8] = np.random.default_rng(7).integers(0, 256, (60, 32, 32, 3), np.uint8)
NAMES = ("cat", "dog", "owl")
EPOCHS = ("--epochs", "0.1", "--quiet")


def wanted(rows: range) -> dict[bytes, str]:
    return {IMAGES[at].tobytes(): NAMES[at % 3] for at in rows}


def contents(*parts: fl.Dataset) -> dict[bytes, str]:
    """Pixels to class."""
    return {
        image.tobytes(): part.class_names[label]
        for part in parts
        for image, label in zip(part.images_NHWC, part.labels_N, strict=True)
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Replace the hub by a stand-in, with empty caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    with serving() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.address)
        yield stand_in


def new_process() -> None:
    """Forget which requests were made, so that they are made again."""
    sets._FOUND.clear()


def table(rows: range, label: str = "label", image: str = "image") -> Any:
    features = {image: datasets.Image(), label: datasets.ClassLabel(names=list(NAMES))}
    values = {
        image: [Image.fromarray(IMAGES[at]) for at in rows],
        label: [at % 3 for at in rows],
    }
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def parquet_set(folder: Path) -> Path:
    """Create a repository in the layout of ``push_to_hub``."""
    (folder / "data").mkdir(parents=True)
    for name, rows in (
        ("train-00000-of-00002", range(24)),
        ("train-00001-of-00002", range(24, 45)),
        ("test-00000-of-00001", range(45, 60)),
    ):
        table(rows).to_parquet(folder / "data" / f"{name}.parquet")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Pets\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    return folder


def test_parquet_is_taken_with_its_splits_and_names(hub: StandIn, tmp_path: Path) -> None:
    commit = hub.put("ann/pets", parquet_set(tmp_path / "pets"))
    data = fl.load("hf:ann/pets")
    assert contents(data.train) == wanted(range(45))
    assert contents(data.test) == wanted(range(45, 60))
    assert data.train.class_names == NAMES
    assert data.train.name == "pets/train"
    assert data.train.notes[0] == f"from the Hugging Face hub: hf:ann/pets@{commit}"
    assert data.train.warnings == ()
    kept = library.try_to_load_from_cache(
        "ann/pets",
        "data/test-00000-of-00001.parquet",
        cache_dir=tmp_path / "hf" / "hub",
        revision=commit,
        repo_type="dataset",
    )
    assert Path(kept).is_file(), "in the hub's own cache, once"


def test_a_run_keeps_its_commit(
    hub: StandIn, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parquet_set(tmp_path / "pets")
    commit = hub.put("ann/pets", folder)
    assert command("train", "hf:ann/pets", *EPOCHS, "--out", "run").code == 0
    told = json.loads(Path("run/data.json").read_text())
    assert (told["name"], told["path"]) == ("hf:ann/pets", f"hf:ann/pets@{commit}")

    # The data set changes; the run does not.
    table(range(45, 55)).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    changed = hub.put("ann/pets", folder)
    new_process()
    assert len(fl.load("hf:ann/pets").test) == 10
    asked = len(hub.asked)
    new_process()
    done = command("evaluate", "run", "--json")
    assert (done.code, json.loads(done.out)["count"]) == (0, 15), done.err
    assert len(hub.asked) == asked, "no connection for a commit that is here"
    assert commit != changed
    checked = command("data", "check", f"hf:ann/pets@{commit}")
    assert (checked.code, "60 pictures in 3 classes" in checked.out) == (0, True), checked
    other = command("evaluate", "run", "hf:ann/pets")
    assert other.code == 0, other.err

    # Without a connection, the latest cached commit is used, and the user is told.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    new_process()
    with pytest.warns(UserWarning, match="using its latest commit on this machine"):
        assert len(fl.load("hf:ann/pets").test) == 10
    new_process()
    assert command("evaluate", "run").code == 0


def test_a_run_of_others_opens_no_connection(
    hub: StandIn, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("ann/pets", parquet_set(tmp_path / "pets"))
    assert command("train", "hf:ann/pets", *EPOCHS, "--out", "run").code == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "another"))
    new_process()
    asked = len(hub.asked)
    refused = command("evaluate", "run")
    assert (refused.code, "does not connect" in refused.err) == (3, True), refused.err
    assert len(hub.asked) == asked
    assert command("evaluate", "run", "hf:ann/pets").code == 0


def test_folders_of_pictures_are_listed_as_on_disk(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pets"
    for at in range(60):
        place = folder / ("train" if at < 45 else "test") / NAMES[at % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[at]).save(place / f"{at}.png")
    (folder / "README.md").write_text("# Pets")
    hub.put("ann/pets", folder)
    data = fl.load("hf:ann/pets")
    assert contents(data.train) == wanted(range(45))
    assert contents(data.test) == wanted(range(45, 60))
    assert data.train.names is not None and data.train.names[0] == "train/cat/0.png"
    assert data.train.fingerprint == fl.load(folder).train.fingerprint

    # If there are many files, the hub's own copy is used if it is complete.
    monkeypatch.setattr(sets, "MANY", 10)
    made = tmp_path / "made"
    for split in ("partial-train", "train"):
        shutil.rmtree(made, ignore_errors=True)
        (made / "default" / split).mkdir(parents=True)
        table(range(45)).to_parquet(made / "default" / split / "0000.parquet")
        hub.put("ann/pets", made, "refs/convert/parquet")
        new_process()
        with pytest.warns(UserWarning) if split == "train" else nullcontext():
            data = fl.load("hf:ann/pets")
        assert data.train.names is not None
        assert ("parquet" in data.train.names[0]) == (split == "train")


def test_what_is_neither_is_taken_from_the_hubs_own_parquet(hub: StandIn, tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "train.zip").write_bytes(b"PK")
    hub.put("ann/pets", tmp_path / "pets")
    with pytest.raises(DataError, match=r"as Parquet or as one folder .* got train\.zip\."):
        fl.load("hf:ann/pets")
    made = tmp_path / "made" / "default"
    for split, rows in (("train", range(45)), ("test", range(45, 60))):
        (made / split).mkdir(parents=True)
        table(rows).to_parquet(made / split / "0000.parquet")
    commit = hub.put("ann/pets", tmp_path / "made", "refs/convert/parquet")
    with pytest.warns(UserWarning, match="uses the Parquet files that the hub made from it"):
        data = fl.load("hf:ann/pets")
    assert contents(data.test) == wanted(range(45, 60))
    assert data.train.notes[0].endswith(f"@{commit}")
    new_process()
    assert len(fl.load(f"hf:ann/pets@{commit}").test) == 15


def test_the_card_says_which_files_and_what_the_columns_are(hub: StandIn, tmp_path: Path) -> None:
    """File names say nothing, and the metadata of the files is lost."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "pets"
    for place, rows in (("a/x.parquet", range(45)), ("a/y.parquet", range(45, 60))):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        table(rows, "kind", "shot").to_parquet(folder / place)
        bare = parquet.read_table(folder / place).replace_schema_metadata({})
        parquet.write_table(bare, folder / place)
    table(range(6)).to_parquet(folder / "z.parquet")
    card = """---
configs:
- config_name: big
  data_files:
  - split: train
    path: a/x.*
  - split: validation
    path: a/y.parquet
- config_name: small
  data_files: z.parquet
dataset_info:
- config_name: big
  features:
  - name: shot
    dtype: image
  - name: kind
    dtype:
      class_label:
        names:
          '0': cat
          '1': dog
          '2': owl
---
"""
    (folder / "README.md").write_text(card)
    hub.put("ann/pets", folder)
    with pytest.raises(DataError, match=r"the configurations big, small. Name one, as in hf:ann/p"):
        fl.load("hf:ann/pets")
    with pytest.raises(DataError, match=r"no configuration huge; choose from big, small"):
        fl.load("hf:ann/pets/huge")
    data = fl.load("hf:ann/pets/big")
    assert contents(*data) == wanted(range(60))
    assert data.train.held_out_N is not None and data.train.held_out_N.sum() == 15
    (folder / "README.md").write_text(card.replace("name: small", "name: small\n  default: true"))
    hub.put("ann/pets", folder)
    new_process()
    with pytest.warns(UserWarning, match="uses the configuration small; others are big"):
        assert contents(*fl.load("hf:ann/pets")) == wanted(range(6))


def test_splits_that_are_no_parts_and_parts_without_labels_are_left_out(
    hub: StandIn, tmp_path: Path
) -> None:
    folder = parquet_set(tmp_path / "pets")
    place = folder / "data" / "test-00000-of-00001.parquet"
    table(range(3)).to_parquet(folder / "data" / "unsupervised-00000-of-00001.parquet")
    table(range(45, 60)).map(lambda _: {"label": -1}).to_parquet(place)
    hub.put("ann/pets", folder)
    with pytest.warns(UserWarning) as told:
        data = fl.load("hf:ann/pets")
    assert contents(*data) == wanted(range(45))
    text = str(told[0].message)
    assert "the split unsupervised is left out" in text
    assert "test: no labels, left out" in text


def test_a_cache_that_the_hubs_library_filled_is_enough(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parquet_set(tmp_path / "pets")
    hub.put("ann/pets", folder)
    library.snapshot_download(
        "ann/pets", repo_type="dataset", endpoint=hub.address, cache_dir=tmp_path / "hf" / "hub"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.warns(UserWarning, match=r"not reached \(HF_HUB_OFFLINE is set\)"):
        assert contents(*fl.load("hf:ann/pets")) == wanted(range(60))
    # If one of several files is missing, it is unknown what else is.
    new_process()
    shutil.rmtree(tmp_path / "cache")
    (found,) = (tmp_path / "hf").rglob("train-00001-of-00002.parquet")
    found.unlink()
    with pytest.raises(UnreachableError, match="is not complete on this machine"):
        fl.load("hf:ann/pets")


def test_what_the_hub_refuses_is_told(
    hub: StandIn, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("ann/pets", parquet_set(tmp_path / "pets"))
    hub.gated.add("ann/pets")
    gated = command("train", "hf:ann/pets", *EPOCHS)
    assert gated.code == 3
    assert "accept its conditions. Accept them at https://huggingface.co/datasets/ann/pets" in (
        gated.err
    )
    absent = command("train", "hf:ann/cars", *EPOCHS)
    assert (absent.code, "the hub has no such data set" in absent.err) == (3, True)
    revision = command("train", "hf:ann/pets@v9", *EPOCHS)
    assert (revision.code, "no such data set or revision" in revision.err) == (3, True)
    for word in ("hf:pets", "hf:ann/pets/a/b", "hf:ann/..", "hf:", "hf:ann/pets@"):
        wrong = command("train", word, *EPOCHS)
        assert (wrong.code, "wanted hf:OWNER/NAME" in wrong.err) == (2, True), (word, wrong.err)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    lost = command("train", "hf:ann/birds", *EPOCHS)
    assert (lost.code, "the hub was not reached" in lost.err) == (3, True), lost.err
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    without = command("train", "hf:ann/birds", *EPOCHS)
    assert (without.code, "pip install 'firstlight[hub]'" in without.err) == (2, True)


def test_a_set_without_pictures_is_told(hub: StandIn, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).to_parquet(folder / "a.parquet")
    hub.put("ann/words", folder)
    with pytest.raises(DataError, match=r"hf:ann/words/a\.parquet: wanted a column image.* text"):
        fl.load("hf:ann/words")


def test_names_that_lead_out_are_not_taken(hub: StandIn, tmp_path: Path) -> None:
    from firstlight.data.hub.card import read_card
    from firstlight.data.hub.chosen import chosen
    from firstlight.hub.word import hub_word

    out = io.BytesIO()
    table(range(3)).to_parquet(out)
    names = ("../a.parquet", "/a.parquet", "b/../../a.parquet", "C:/a.parquet", "b\\a.parquet")
    assert chosen(names, read_card(b""), hub_word("hf:ann/pets")) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"# no card",
        b"---\n- a\n- b\n---\n",
        b"---\nconfigs: [1, {data_files: 3}]\ndataset_info: x\n---\n",
        b"---\na: [unclosed\n---\n",
        b"---\ndataset_info:\n  features:\n  - &a {name: b, list: *a}\n---\n",
        b"---\ndataset_info: {features: [{name: l, dtype: {class_label: {names: [1, 2]}}}]}\n---",
        b"\xff\xfe---\n---\n",
    ],
)
def test_a_card_of_any_kind_does_no_harm(hub: StandIn, tmp_path: Path, text: bytes) -> None:
    folder = parquet_set(tmp_path / "pets")
    (folder / "README.md").write_bytes(text)
    hub.put("ann/pets", folder)
    assert contents(fl.load("hf:ann/pets").test) == wanted(range(45, 60))
