"""Runs on the hub, with a stand-in for its HTTP interface: published by a push, opened by
``hf:OWNER/NAME``. huggingface_hub stores its downloads in its own cache."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load as load_tensors
from tests.hub.stand_in import StandIn, serving
from tests.kit import Command, striped
from tests.verbs import own_nets

import firstlight as fl
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.runs import from_hub

library = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
ALL = {
    *("recipe.toml", "model.safetensors", "summary.json", "data.json", "environment.json"),
    *("epochs.csv", "metrics.json", "README.md"),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Replace the hub by a stand-in, with empty caches and the user ann logged in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "anns-token")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # another protocol
    monkeypatch.chdir(tmp_path)
    with serving() as stand_in:
        stand_in.owners["anns-token"] = "ann"
        monkeypatch.setenv("HF_ENDPOINT", stand_in.address)
        yield stand_in


def new_process() -> None:
    """Forget which requests were made, so that they are made again."""
    from_hub._FOUND.clear()


@pytest.fixture
def digit(tmp_path: Path, digits_run: fl.Run) -> Path:
    """Write a picture of a digit."""
    path = tmp_path / "digit.png"
    images = fl.load("digits").test.images_NHWC
    Image.fromarray(np.squeeze(images[3])).save(path)
    return path


def test_a_run_comes_back_from_the_hub_with_the_same_bits(
    hub: StandIn, digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in digits_run.path.glob("*.*")}
    word = digits_run.to_hub("ann/digits")
    assert {path.name: path.read_bytes() for path in digits_run.path.glob("*.*")} == before
    assert re.fullmatch(r"hf:ann/digits@[0-9a-f]{40}", word)
    assert hub.private == {"ann/digits": True}
    assert set(hub.files("ann/digits")) == ALL | {".gitattributes"}

    run = fl.open_run("hf:ann/digits")
    assert run.source == word
    assert digits_run.source is None
    assert run.recipe == digits_run.recipe
    assert run.summary == digits_run.summary
    images = fl.load("digits").test.images_NHWC[:50]
    assert [p.to_json() for p in run.predict(images)] == [
        p.to_json() for p in digits_run.predict(images)
    ]
    # The published bits are the run's, and evaluating them gives the published figures.
    published = hub.files("ann/digits")
    assert published["model.safetensors"] == before["model.safetensors"]
    assert json.loads(published["metrics.json"]) == json.loads(before["metrics.json"])
    assert run.evaluate().accuracy == json.loads(before["metrics.json"])["accuracy"]
    monkeypatch.delenv("HF_TOKEN")
    new_process()
    shutil.rmtree("cache")
    with pytest.raises(DataError, match=r"no such model or revision, or it is private .* hf auth"):
        fl.open_run("hf:ann/digits")


def test_a_run_with_several_labels_comes_back_with_its_thresholds(
    hub: StandIn, tmp_path: Path
) -> None:
    digits = fl.load("digits").train
    images = digits.images_NHWC[:200]
    labels = np.stack([digits.labels_N[:200] % 2 == 0, digits.labels_N[:200] > 4], axis=1)
    data = fl.from_images(images, labels, class_names=["even", "large"])
    settings = ["train.held_out_fraction=0.4"]
    run = fl.train(data, epochs=2, settings=settings, out=tmp_path / "run", quiet=True)
    run.evaluate()
    run.to_hub("ann/several")
    assert "Labels: even, large." in hub.files("ann/several")["README.md"].decode()
    back = fl.open_run("hf:ann/several")
    answers = back.predict(images[:20])
    assert [p.to_json() for p in answers] == [p.to_json() for p in run.predict(images[:20])]
    assert {p.labels for p in answers} <= {(), ("even",), ("large",), ("even", "large")}


def test_a_word_with_its_commit_needs_no_connection_again(
    hub: StandIn, digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = digits_run.to_hub("ann/digits")
    fl.open_run(word)
    new_process()
    asked = len(hub.asked)
    run = fl.open_run(word)
    assert len(hub.asked) == asked

    # An address without a commit; offline, the latest cached commit is used.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    new_process()
    with pytest.raises(UnreachableError, match=r"hub was not reached .* and open it once"):
        fl.open_run("hf:ann/other")
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    fl.open_run("hf:ann/digits")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    new_process()
    with pytest.warns(UserWarning, match=r"not reached .* using its latest commit on this machine"):
        assert fl.open_run("hf:ann/digits").path == run.path
    # A truncated file of the copy is copied again from the hub's own cache.
    whole = (run.path / "model.safetensors").read_bytes()
    (run.path / "model.safetensors").write_bytes(whole[:1000])
    new_process()
    assert (fl.open_run(word).path / "model.safetensors").read_bytes() == whole


def test_the_hubs_own_cache_is_enough(
    hub: StandIn, digits_run: fl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own command fills the cache, which is then moved to another machine."""
    commit = digits_run.to_hub("ann/digits").partition("@")[2]
    cache = tmp_path / "hf" / "hub"
    library.snapshot_download("ann/digits", endpoint=hub.address, cache_dir=cache)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.warns(UserWarning, match=r"not reached \(HF_HUB_OFFLINE is set\)"):
        assert fl.open_run("hf:ann/digits").source == f"hf:ann/digits@{commit}"


def test_commands_take_it_where_they_take_a_run(
    hub: StandIn, digits_run: fl.Run, digit: Path, command: Command
) -> None:
    done = command("push", digits_run.path, "ann/digits", "--license", "mit", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    word = told["word"]
    assert set(told["files"]) == ALL
    assert told["page"] == "https://huggingface.co/ann/digits"

    here = command("predict", digits_run.path, digit, "--json")
    there = command("predict", "hf:ann/digits", digit, "--json")
    assert (there.code, there.out) == (0, here.out), there.err
    assert there.err.splitlines()[0] == word
    for words in (
        ("evaluate", word, "--json"),
        ("explain", word, digit),
        ("report", word),
        ("network", word),
        ("recipe", "show", word),
        ("card", word),
        ("runs", word, digits_run.path),
        ("predict", word, digit, "--out", "answers", "--workers", "1"),
    ):
        done = command(*words)
        assert done.code == 0, (words, done.err)
    exported = command("export", word, "--format", "safetensors")
    assert exported.code == 0, exported.err
    assert Path("digits.safetensors").is_file(), "called as the repository"


def test_a_training_starts_from_it_and_notes_the_commit(
    hub: StandIn, digits_run: fl.Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = digits_run.to_hub("ann/digits")
    short = ("--epochs", "0.2", "--quiet", "--limit", "100")
    assert command("train", "digits", "--from", "hf:ann/digits", *short, "--out", "a").code == 0
    assert fl.open_run("a").recipe.train.start_from == word
    X, y = fl.load("digits").train.images_NHWC[:60, ..., 0], np.arange(60) % 10
    model = fl.FirstlightClassifier(start=word, settings=["train.epochs=0.5"]).fit(X, y)
    assert model.recipe_.train.start_from == word

    # A recipe that names it does not count as a user: the run is used if it is cached, not
    # downloaded.
    recipe = "a/recipe.toml"
    again = command("train", "digits", "--recipe", recipe, *short, "--out", "b")
    assert again.code == 0, again.err
    new_process()
    shutil.rmtree("cache")
    shutil.rmtree("hf")
    asked = len(hub.asked)
    strange = command("train", "digits", "--recipe", recipe, *short, "--out", "c")
    assert (strange.code, len(hub.asked)) == (3, asked)
    assert f"{word}: is not complete on this machine" in strange.err


def test_nothing_published_tells_of_pictures_places_or_people(
    hub: StandIn, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on the user's own pictures, started from another run, all with private names."""
    home = tmp_path / "home" / "jane-doe"
    pictures = home / "secret-photos"
    train = striped(count=40).train
    for at, (image, label) in enumerate(zip(train.images_NHWC, train.labels_N, strict=True)):
        place = pictures / train.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"patient-{at}.png")
    (pictures / "row" / "patient-cut.png").write_bytes(b"\x89PNG")
    first, second = home / "first-run", home / "second-run"
    short = ("--epochs", "1", "--quiet")
    assert command("train", pictures, *short, "--out", first).code in (0, 4)
    done = command("train", pictures, "--from", first, *short, "--out", second)
    assert done.code in (0, 4), done.err
    assert command("evaluate", second).code == 0
    assert command("report", second).code == 0
    assert "jane-doe" in (second / "environment.json").read_text()
    assert "jane-doe" in (second / "data.json").read_text()
    assert "jane-doe" in (second / "recipe.toml").read_text()
    assert "patient-" in (second / "predictions.csv").read_text()

    assert command("push", second, "ann/photos").code == 0
    published = hub.files("ann/photos")
    assert set(published) - {".gitattributes"} <= ALL
    for name, content in published.items():
        for word in ("jane-doe", "patient", str(tmp_path)):
            assert word.encode() not in content, (name, word)
        assert b"\x89PNG" not in content and b"\xff\xd8\xff" not in content, name
    described = json.loads(published["data.json"])
    assert (described["name"], described["path"], described["relative"]) == (
        *("secret-photos", None, None),
    )
    assert described["class_names"] == ["column", "row"]
    assert b'start_from = "first-run"' in published["recipe.toml"]

    # It answers, and finds the same pictures again when they are named.
    digit = next(pictures.glob("row/patient-?.png"))
    assert command("predict", "hf:ann/photos", digit).code == 0
    lost = command("evaluate", "hf:ann/photos")
    assert (lost.code, "name it as DATA after the run" in lost.err) == (2, True), lost.err


def test_a_second_push_replaces_the_first_run_whole(hub: StandIn, digits_run: fl.Run) -> None:
    first = digits_run.to_hub("ann/digits", license="mit")
    old = fl.open_run(first)
    other = fl.train("digits", epochs=0.2, out="other", quiet=True)
    second = other.to_hub("hf:ann/digits")
    assert first != second
    assert "metrics.json" not in hub.files("ann/digits"), "figures of the first run"
    assert fl.open_run("hf:ann/digits").summary == other.summary
    assert fl.open_run(first).path == old.path
    assert old.summary == digits_run.summary


def test_the_card_is_in_the_hubs_own_form(hub: StandIn, digits_run: fl.Run) -> None:
    digits_run.to_hub("ann/digits", license="mit")
    text = hub.files("ann/digits")["README.md"].decode()
    told = yaml.safe_load(text.split("---\n")[1])
    assert (told["license"], told["library_name"]) == ("mit", "firstlight")
    card = library.ModelCard(text)
    (result,) = [one for one in card.data.eval_results if one.metric_type == "accuracy"]
    metrics = json.loads((digits_run.path / "metrics.json").read_text())
    assert result.metric_value == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert "firstlight predict hf:ann/digits picture.png" in text
    assert 'fl.open_run("hf:ann/digits")' in text


def test_code_is_published_and_never_run_unless_it_is_named(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = striped()
    run = fl.train(data, network=own_nets.make, epochs=0.5, out="run", quiet=True)
    run.to_hub("ann/own")
    assert hub.files("ann/own")["network.py"] == Path(str(own_nets.__file__)).read_bytes()
    ran = tmp_path / "ran"
    _, folder = hub.commits["ann/own", "main"]
    code = (folder / "network.py").read_text()
    (folder / "network.py").write_text(f"open({str(ran)!r}, 'w').close()\n{code}")
    hub.put_model("ann/own", folder)
    opened = fl.open_run("hf:ann/own")
    images = data.test.images_NHWC[:5]
    with pytest.raises(UserError, match=r"network="):
        opened.predict(images)
    assert not ran.exists()
    named = fl.open_run("hf:ann/own", network=own_nets.make)
    assert [p.answer for p in named.predict(images)] == [p.answer for p in run.predict(images)]
    assert not ran.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, r"has no recipe\.toml and no model\.s"),
        ({}, "got no files"),
    ],
)
def test_a_repository_that_is_no_run_is_told(
    hub: StandIn, tmp_path: Path, command: Command, files: dict[str, bytes], message: str
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hub.put_model("bob/net", folder)
    done = command("predict", "hf:bob/net", "digit.png")
    assert done.code == 3 and re.search(message, done.err), done.err
    assert not any("resolve" in one for one in hub.asked), "nothing was fetched"


def test_hostile_files_of_a_repository_are_not_fetched_or_are_refused(
    hub: StandIn, tmp_path: Path, digits_run: fl.Run, command: Command
) -> None:
    digits_run.to_hub("ann/digits")
    _, folder = hub.commits["ann/digits", "main"]
    (folder / "figures").mkdir()
    (folder / "figures" / "x.py").write_text("boom")
    (folder / "model.pkl").write_bytes(b"boom")
    hub.put_model("ann/digits", folder)
    run = fl.open_run("hf:ann/digits")
    assert {path.name for path in run.path.iterdir()} == ALL - {"README.md"} | {"hub.json"}
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    hub.put_model("ann/digits", folder)
    new_process()
    damaged = command("evaluate", "hf:ann/digits")
    assert damaged.code == 3 and "damaged" in damaged.err, damaged.err
    with (folder / "epochs.csv").open("wb") as file:
        file.truncate(100 * 2**20)
    hub.put_model("ann/digits", folder)
    new_process()
    large = command("evaluate", "hf:ann/digits")
    assert (large.code, "epochs.csv has 104,857,600 bytes" in large.err) == (3, True), large.err


def test_what_the_hub_refuses_is_told(
    hub: StandIn,
    digits_run: fl.Run,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for words, code, text in (
        (("push", digits_run.path, "digits"), 2, "digits: wanted OWNER/NAME"),
        (("push", digits_run.path, "ann/digits@main"), 2, "leave out @"),
        (("push", digits_run.path, "bob/digits"), 2, "the hub does not let you write there"),
        (("push", tmp_path, "ann/digits"), 2, "is not a run folder"),
        (("push", digits_run.path, "ann/digits", "--license", "My Own"), 2, "license"),
        (("predict", "hf:ann/nothing", "x.png"), 3, "the hub has no such model or revision"),
        (("predict", "hf:nothing", "x.png"), 2, "wanted hf:OWNER/NAME or hf:OWNER/NAME@REVISION"),
        (("predict", "hf:ann/a/b", "x.png"), 2, "wanted hf:OWNER/NAME or hf:OWNER/NAME@REVISION"),
        (("train", "digits", "--from", "hf:ann/nothing"), 3, "no such model or revision"),
    ):
        done = command(*words)
        assert (done.code, text in done.err) == (code, True), (words, done.err)
    assert hub.commits == {}

    word = digits_run.to_hub("ann/digits")
    missing = command("predict", "hf:ann/digits@v9", "x.png")
    assert (missing.code, "no such model or revision" in missing.err) == (3, True)
    hub.gated.add("ann/digits")
    gated = command("predict", "hf:ann/digits", "x.png")
    assert gated.code == 3
    assert "Accept them at https://huggingface.co/ann/digits, then log in" in gated.err

    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "config.json").write_text("{}")
    hub.put_model("ann/taken", taken)
    done = command("push", digits_run.path, "ann/taken")
    assert (done.code, "holds other files (config.json) and is not a run" in done.err) == (2, True)
    assert set(hub.files("ann/taken")) == {"config.json"}

    monkeypatch.setenv("HF_TOKEN", "no-such-token")
    wrong = command("push", digits_run.path, "ann/digits")
    assert (wrong.code, "must have write access: hf auth login" in wrong.err) == (2, True), (
        wrong.err
    )
    monkeypatch.delenv("HF_TOKEN")
    nobody = command("push", digits_run.path, "ann/digits")
    assert (nobody.code, "log in first: hf auth login, or set HF_TOKEN" in nobody.err) == (2, True)
    assert digits_run.path.is_dir() and f"@{hub.commits['ann/digits', 'main'][0]}" in word


@pytest.mark.parametrize("step", ["preupload", "/blobs/", "/commit/"])
def test_a_push_that_fails_on_its_way_changes_nothing(
    hub: StandIn, digits_run: fl.Run, command: Command, step: str
) -> None:
    first = digits_run.to_hub("ann/digits")
    other = fl.train("digits", epochs=0.2, out="other", quiet=True)
    hub.broken = step
    done = command("push", other.path, "ann/digits")
    assert (done.code, "Nothing was published; try again" in done.err) == (3, True), done.err
    hub.broken = ""
    assert fl.open_run("hf:ann/digits").source == first


def test_without_the_hub_or_its_library_it_says_so(
    hub: StandIn, digits_run: fl.Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    lost = command("push", digits_run.path, "ann/digits")
    assert (lost.code, "hf:ann/digits: the hub was not reached" in lost.err) == (3, True), lost.err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for words in (("push", digits_run.path, "ann/digits"), ("predict", "hf:ann/digits", "x.png")):
        without = command(*words)
        assert (without.code, "pip install 'firstlight[hub]'" in without.err) == (2, True), words


def test_the_weights_open_anywhere(hub: StandIn, digits_run: fl.Run) -> None:
    digits_run.to_hub("ann/digits")
    tensors: dict[str, Any] = load_tensors(hub.files("ann/digits")["model.safetensors"])
    assert sum(one.size for one in tensors.values()) >= digits_run.summary["parameters"]
