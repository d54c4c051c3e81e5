"""Networks that are the user's own code: trained, stopped, opened, exported; and refused ones."""

import hashlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.kit import Command, striped
from tests.verbs import own_nets
from torch import Tensor, nn

import firstlight as fl
from firstlight.data.decode import Bounds
from firstlight.errors import DataError, RunInterruptedError
from firstlight.layers.own_code import own_code
from firstlight.runs.folder import RunFolder
from firstlight.serve.exported import open_served, predictor_of
from firstlight.verbs import fit

SOURCE = Path(own_nets.__file__)
DATA = striped(60, 8)


def ended(run: fl.Run) -> bytes:
    return (run.path / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Return digits trained with ``own_nets.make``. Do not change them."""
    out = tmp_path_factory.mktemp("own") / "run"
    return fl.train("digits", network=own_nets.make, epochs=3, out=out, quiet=True)


def test_a_run_records_the_code_and_keeps_its_source(trained: fl.Run) -> None:
    code = trained.recipe.network.code
    assert code is not None
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    assert (code.file, code.function, code.sha256) == ("own_nets.py", "make", digest)
    assert (trained.path / "network.py").read_bytes() == SOURCE.read_bytes()
    assert digest in (trained.path / "recipe.toml").read_text()
    assert digest.encode() in ended(trained)
    assert str(SOURCE.parent).encode() not in ended(trained)


def test_it_repeats_to_the_bit_and_leaves_the_global_generators_alone(
    trained: fl.Run, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    state = torch.get_rng_state()
    expected = [random.Random(5).random(), np.random.RandomState(5).rand()]
    word = f"{SOURCE}:make"
    again = fl.train("digits", network=word, epochs=3, out=tmp_path / "again", quiet=True)
    other = fl.train("digits", network=word, epochs=3, seed=1, out=tmp_path / "other", quiet=True)
    assert ended(again) == ended(trained) != ended(other)
    assert torch.equal(torch.get_rng_state(), state)
    assert [random.random(), np.random.rand()] == expected


def test_its_answers_are_those_of_the_module_with_the_weights_that_were_kept(
    trained: fl.Run, tmp_path: Path
) -> None:
    """The oracle is PyTorch alone: the class, its weights from the exported file, its softmax."""
    opened = fl.open_run(trained.path, network=own_nets.make)
    exported = opened.export("safetensors", tmp_path / "weights.safetensors")
    module = own_nets.Net((8, 8, 1), 10)
    module.load_state_dict(load_file(exported.path))
    images = fl.load("digits").test.images_NHWC[:40]
    with torch.no_grad():
        pixels = torch.tensor(images.transpose(0, 3, 1, 2).tolist()).float() / 255
        best = module.eval()(pixels).argmax(dim=1)
    assert [int(p.best or -1) for p in opened.predict(images)] == best.tolist()
    assert opened.evaluate().accuracy > 0.6


def test_every_way_out_of_a_run_works_with_its_code(trained: fl.Run, tmp_path: Path) -> None:
    run = fl.open_run(shutil.copytree(trained.path, tmp_path / "run"), network=own_nets.make)
    assert 0 < run.evaluate().accuracy <= 1
    page = run.report().read_text()
    assert "--network" in page and "own_nets.py:make" in page
    explained = run.explain("test:0")
    assert explained.grad_cam is not None and explained.layers
    with pytest.raises(fl.UserError, match="Keras"):
        run.export("keras", tmp_path / "net.keras")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
@pytest.mark.usefixtures("warm")
def test_sigterm_and_resume_end_with_the_same_bits(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "firstlight", "train"]
    own = ["--network", f"{SOURCE}:make"]
    start = [*words, "digits", *own, "--epochs", "4", "--set", "train.average_decay=0.9"]
    subprocess.run([*start, "--out", tmp_path / "whole"], check=True, capture_output=True)
    process = subprocess.Popen(
        [*start, "--out", tmp_path / "stopped"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None and process.stdout.readline().startswith("epoch 1/4")
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate()
    assert process.returncode == 130, message
    told = shlex.split(message.split("Continue with: firstlight ")[1])
    assert told == ["train", "--resume", str(tmp_path / "stopped"), *own]
    with pytest.raises(fl.UserError, match="only runs if you name it"):
        fl.resume(tmp_path / "stopped")
    subprocess.run([*words[:-1], *told], check=True, capture_output=True)
    ends = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "stopped")]
    assert ends[0] == ends[1]


def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"network": own_nets.make, "epochs": 3, "quiet": True}
    given["settings"] = ["train.micro_batch_size=5", "train.batch_size=10"]
    whole = fl.train(DATA, out=tmp_path / "whole", **given)
    steps = 0

    def stopping(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("firstlight.progress.Silent.step", stopping)
        with pytest.raises(RunInterruptedError):
            fl.train(DATA, out=tmp_path / "part", **given)
    resumed = fl.resume(tmp_path / "part", DATA, network=own_nets.make, quiet=True)
    assert ended(resumed) == ended(whole)


COMMANDS: list[list[str]] = [
    ["evaluate", "run"],
    ["predict", "run", "picture.png"],
    ["explain", "run", "test:0"],
    ["export", "run"],
    ["report", "run"],
]


def marked(trained: fl.Run, where: Path) -> Path:
    """Return a copy of the run in ``where``, beside code that creates a file when it runs."""
    shutil.copytree(trained.path, where / "run")
    code = "from pathlib import Path\nPath('ran').write_text('ran')\n"
    for place in ("own_nets.py", "run/own_nets.py", "run/network.py"):
        (where / place).write_text(code)
    return where / "run"


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_no_command_runs_code_that_it_does_not_name(
    command: Command, trained: fl.Run, tmp_path: Path, words: list[str]
) -> None:
    marked(trained, tmp_path)
    done = command(*words)
    assert done.code == 2, done.err
    assert "only runs if you name it" in done.err
    assert "--network own_nets.py:make" in done.err
    assert not Path("ran").exists()


def test_runs_and_training_from_it_run_no_code_either(
    command: Command, trained: fl.Run, tmp_path: Path
) -> None:
    marked(trained, tmp_path)
    assert command("runs", ".").code == 0
    for words in (["--from", "run"], ["--recipe", "run/recipe.toml"]):
        done = command("train", "digits", *words)
        assert (done.code, "only runs if you name it" in done.err.replace("\n", " ")) == (2, True)
    assert not Path("ran").exists() and not Path("runs").exists()


def test_other_code_is_refused_and_the_copy_opens_the_run(
    command: Command, trained: fl.Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.path, "run")
    more = "\n\ndef other(shape, classes):\n    return make(shape, classes)\n"
    Path("own_nets.py").write_text(SOURCE.read_text() + more)
    done = command("evaluate", "run", "--network", "own_nets.py:make")
    assert (done.code, "is not the file that the run was trained with" in done.err) == (2, True)
    assert "--network run/network.py:make" in done.err
    done = command("evaluate", "run", "--network", "own_nets.py:other")
    assert (done.code, "its network is make of own_nets.py, but other" in done.err) == (2, True)
    assert command("evaluate", "run", "--network", "run/network.py:make").code == 0
    with pytest.raises(fl.UserError, match="is not the file"):
        fl.open_run("run", network="own_nets.py:make").evaluate()


def test_a_run_of_layers_and_an_exported_file_need_no_code(
    command: Command, trained: fl.Run, digits_run: fl.Run
) -> None:
    word = f"{SOURCE}:make"
    done = command("evaluate", digits_run.path, "--network", word)
    assert (done.code, "is a list of layers, which needs no code" in done.err) == (2, True)
    done = command("report", digits_run.path, "--network", word)
    assert (done.code, "is not the code of any of these runs" in done.err) == (2, True)
    opened = fl.open_run(trained.path, network=word)
    assert opened.export(out="net.onnx").parity.other_classes == 0
    assert command("evaluate", "net.onnx").code == 0
    done = command("evaluate", "net.onnx", "--network", word)
    assert (done.code, "contains its network" in done.err) == (2, True)


def test_a_run_starts_from_one_whose_network_is_code(trained: fl.Run, tmp_path: Path) -> None:
    more: dict[str, Any] = {"start": trained.path, "epochs": 1, "quiet": True}
    with pytest.raises(fl.UserError, match="only runs if you name it"):
        fl.train("digits", out=tmp_path / "no", **more)
    more["settings"] = ["optimizer.learning_rate=1e-12"]
    run = fl.train("digits", out=tmp_path / "more", network=own_nets.make, **more)
    before, after = (load_file(r.path / "model.safetensors") for r in (trained, run))
    assert torch.allclose(before["conv.weight"], after["conv.weight"], atol=1e-6)
    assert not torch.allclose(before["out.weight"], after["out.weight"], atol=1e-2)
    assert run.recipe.network.code == trained.recipe.network.code


def test_a_summary_of_code_is_refused_in_words(command: Command, trained: fl.Run) -> None:
    for where in (trained.path, trained.path / "model.safetensors"):
        done = command("network", where)
        assert (done.code, "is code, make of own_nets.py, not a list" in done.err) == (2, True)


@pytest.mark.parametrize("verb", ["train", "lr-find"])
def test_a_layer_of_code_cannot_be_changed_by_its_number(command: Command, verb: str) -> None:
    words = ("digits", "--network", f"{SOURCE}:make", "--set", "network.1.filters=3")
    done = command(verb, *words)
    assert done.code == 2 and "network.1.filters=3: the network is code" in done.err


def test_the_service_answers_with_code_that_was_named_for_it(trained: fl.Run) -> None:
    images = fl.load("digits").test.images_NHWC[:5]
    code = own_code(f"{SOURCE}:make")
    folder, boxed = open_served([trained.path, Path("mnist")], [code])
    assert isinstance(boxed, RunFolder) and boxed.code is None
    answers = predictor_of("own", folder, Bounds()).probabilities(images)
    opened = fl.open_run(trained.path, network=own_nets.make)
    assert [p.confidence for p in opened.predict(images)] == pytest.approx(answers.max(axis=1))
    unnamed = predictor_of("own", open_served([trained.path])[0], Bounds())
    with pytest.raises(fl.UserError, match="only runs if you name it"):
        unnamed.load()


def test_bench_and_lr_find_take_code(command: Command) -> None:
    word = f"{SOURCE}:make"
    done = command("bench", "digits", "--network", word, "--seeds", "1", "--set", "train.epochs=1")
    assert done.code == 0 and "own-network on digits" in done.out, done.err
    done = command("lr-find", "digits", "--network", word, "--steps", "20")
    assert done.code == 0 and f"--network {word}" in done.out, done.err


BASE = """import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.out = nn.Linear(shape[0] * shape[1] * shape[2], classes)
        {setup}

    def forward(self, x):
        y = self.out(x.flatten(1))
        {forward}

def make(shape, classes):
    {make}
"""


def source(
    make: str = "return Net(shape, classes)", setup: str = "pass", forward: str = "return y"
) -> str:
    return BASE.format(make=make, setup=setup, forward=forward)


WRONG = {
    "nothing": (source("pass"), "returned NoneType.*is a return missing"),
    "no module": (source("return 3"), "returned int, not a torch.nn.Module"),
    "raises": (source("raise KeyError('width')"), "line 15: make raised KeyError: 'width'"),
    "exits": (source("raise SystemExit(0)"), "line 15: make raised SystemExit: 0"),
    "other shape": (source("return Net(shape, classes + 1)"), "returns 3×3, float32; wanted sc"),
    "maps": (source(forward="return x"), "returns 3×1×8×8, float32; wanted scores 3×2"),
    "another batch": (source(forward="return y[:1]"), "returns 1×2.*for 3 images"),
    "one alone": (
        source(forward="return y.squeeze()[: len(x)]"),
        "wanted scores 1×2, float32, for 1 images",
    ),
    "a tuple": (source(forward="return y, y"), "returns tuple; wanted scores 3×2"),
    "double": (source(forward="return y.double()"), "float64; wanted scores"),
    "nan": (source(forward="return y / 0 * 0"), "returns numbers that are not finite"),
    "nan weights": (source(setup="nn.init.constant_(self.out.bias, float('nan'))"), "out.bias hol"),
    "meta": (source("return Net(shape, classes).to('meta')"), "on the meta device: out.weight"),
    "no parameters": (source("return nn.Flatten()"), "without parameters to train"),
    "frozen": (
        source("return Net(shape, classes).requires_grad_(False)"),
        "without parameters to train",
    ),
    "detached": (source(forward="return y.detach()"), "do not depend on trainable weights"),
    "input in place": (source(forward="x += 1; return y"), "changes its input in place"),
    "counts answers": (
        source(setup="self.register_buffer('seen', torch.zeros(()))",
               forward="self.seen += 1; return y"),
        "changes seen in evaluation mode",
    ),
    "counts apart": (
        source(setup="self.steps = 0",
               forward="self.steps += self.training; return y"),
        "changes steps with every batch and does not save it",
    ),
    "hidden buffer": (
        source(setup="self.register_buffer('mean', torch.zeros(()), persistent=False)",
               forward="self.mean = self.mean + self.training; return y"),
        "changes mean with every batch and does not save it",
    ),
    "chance in answers": (
        source(forward="return y + torch.rand_like(y)"), "draws random numbers in evaluation mode",
    ),
    "chance of its own": (
        source(setup="self.rng = torch.Generator(); self.rng.seed()",
               forward="return y + torch.rand(y.shape, generator=self.rng) * self.training"),
        "random numbers do not depend on the seed",
    ),
    "weights of chance": (
        source(setup="g = torch.Generator(); g.seed(); nn.init.normal_(self.out.weight, "
                     "generator=g)"),
        "returned other weights when it was called again",
    ),
    "neighbours": (source(forward="return y - y.mean(0)"), "depends on the other images"),
    "softmax": (source(forward="return y.softmax(1)"), "gives probabilities"),
    "forward fails": (source(forward="return y @ y"), "line 12: its module raised RuntimeError"),
    "extra state": (
        source() + "\nNet.get_extra_state = lambda self: {'a': 1}\n", "state that is not a tensor",
    ),
    "no function": ("def other(shape, classes): ...\n", "has no function make; it has other"),
    "syntax": ("def make(:\n", "line 1: the file raised SyntaxError"),
    "import": ("import a_helper_beside_it\n", "ModuleNotFoundError.*run on its own"),
    "import fails": ("1 / 0\n", "line 1: the file raised ZeroDivisionError"),
    "null bytes": ("\0", "the file raised"),
    "too few arguments": ("def make(shape): ...\n", "make raised TypeError"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_wrong_modules_are_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(text)
    with pytest.raises(fl.UserError, match=told) as error:
        fl.train(DATA, network="nets.py:make", epochs=1, quiet=True)
    assert error.value.exit_code == 2
    assert not Path("runs").exists()


def test_a_buffer_that_shards_cannot_share_out_is_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(
        source(
            setup="self.register_buffer('seen', torch.zeros(()))",
            forward="self.seen += self.training; return y",
        )
    )
    with pytest.raises(fl.UserError, match="changes its buffer seen in training"):
        fl.train(DATA, network="nets.py:make", settings=["train.shards=2"], quiet=True)
    assert not Path("runs").exists()


def test_an_error_in_the_middle_of_a_training_has_the_line(
    command: Command, tmp_path: Path
) -> None:
    Path("nets.py").write_text(source(forward="assert len(x) != 7, 'seven'; return y"))
    done = command(
        "train", "digits", "--limit", "79", "--network", "nets.py:make",
        "--set", "train.batch_size=8", "--set", "train.validation=none", "--epochs", "1",
    )  # fmt: skip
    assert done.code == 2, done.err
    assert "nets.py, line 12: its module raised AssertionError: seven" in done.err


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("mnist-tutorial", "must be FILE.py:FUNCTION"),
        ("nets.py", "must be FILE.py:FUNCTION"),
        ("missing.py:make", "no such file"),
        (".:make", "not a regular file"),
        (":make", "must be FILE.py:FUNCTION"),
        ("nets.py:a b", "must be FILE.py:FUNCTION"),
        ("nets.py:__import__('os')", "must be FILE.py:FUNCTION"),
        ("x\0y:make", "cannot be read|no such file"),
        (partial(own_nets.make), "partial function, and a run cannot"),
        (3, "must be a list of fl.layers, or a function"),
        (len, "must be a list of fl.layers, or a function"),
        (eval("lambda shape, classes: None"), "was not found"),
    ],
)
def test_what_names_no_code_is_refused(network: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(fl.UserError, match=told):
        fl.train(DATA, network=network, out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    "name", ["--x.py", "a b;$(touch ran).py", "new\nline.py", "\x1b[31mred.py", "ünï.py"]
)
def test_hostile_file_names_are_recorded_as_plain_words(
    command: Command, tmp_path: Path, name: str
) -> None:
    try:
        Path(name).write_text(SOURCE.read_text())
    except OSError:
        pytest.skip("this file system does not take the name")
    limits = ["--limit", "200", "--epochs", "1", "--set", "train.validation=none"]
    done = command("train", "digits", "--network", f"./{name}:make", *limits, "--out", "r")
    assert done.code in (0, 4), done.err
    assert "\x1b" not in done.out + (Path("r") / "recipe.toml").read_text()
    assert command("evaluate", "r", "--network", f"./{name}:make").code == 0
    missing = command("evaluate", "r")
    assert missing.code == 2 and "\x1b" not in missing.err
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "code",
    [
        '"nets.py"',
        "{ file = '../nets.py', function = 'make', sha256 = '%s' }",
        "{ file = 'nets.py', function = 'make', sha256 = '00' }",
        "{ file = 'nets.py', function = 3, sha256 = '%s' }",
        "{ file = \"a\\nb\", function = 'make', sha256 = '%s' }",
        "{ file = 'nets.py', function = 'make', sha256 = '%s', make = 'x' }",
        "{ file = 'nets.py', function = 'make' }",
    ],
)
def test_a_hostile_record_is_refused(trained: fl.Run, tmp_path: Path, code: str) -> None:
    run = shutil.copytree(trained.path, tmp_path / "run")
    lines = (run / "recipe.toml").read_text().splitlines()
    code = code % ("0" * 64) if "%s" in code else code
    lines = [f"code = {code}" if line.startswith("code =") else line for line in lines]
    (run / "recipe.toml").write_text("\n".join(lines))
    with pytest.raises(DataError, match="code"):
        _ = fl.open_run(run).recipe


def test_layers_and_views_beside_code_are_refused(trained: fl.Run) -> None:
    for setting in ("network.views=mirror", "network.layers=[{ dense = 'classes' }]"):
        with pytest.raises(fl.UserError, match="code"):
            trained.recipe.with_settings([setting])
    with pytest.raises(fl.UserError, match="small_share needs a list of layers"):
        trained.recipe.with_settings(["train.small_share=0.3"])


def shared(image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two layers with the same weights, a lazy layer, and a mask."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LazyLinear(16)
            self.one, self.two = nn.Linear(16, 16), nn.Linear(16, 16)
            self.two.weight = self.one.weight
            self.out = nn.Linear(16, classes)
            self.register_buffer("mask", torch.arange(16) > 2)

        def forward(self, images: Tensor) -> Tensor:
            features = self.first(images.flatten(1)).relu() * self.mask
            scores: Tensor = self.out(self.two(self.one(features).relu()))
            return scores

    return Shared()


def numpy_weights(image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Weights from NumPy's and Python's generators."""
    layer = nn.Linear(int(np.prod(image_shape)), classes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.random.randn(*layer.weight.shape) / 10))
        layer.bias.fill_(random.random())

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.layer(images.flatten(1))
            return scores

    return Whole()


@pytest.mark.parametrize("make", [shared, numpy_weights, own_nets.Net])
def test_odd_modules_train_open_and_repeat(make: Callable[..., nn.Module], tmp_path: Path) -> None:
    given: dict[str, Any] = {"epochs": 2, "settings": ["train.average_decay=0.5"], "quiet": True}
    runs = [fl.train(DATA, network=make, out=tmp_path / str(i), **given) for i in range(2)]
    assert ended(runs[0]) == ended(runs[1])
    opened = fl.open_run(runs[0].path, DATA, network=make)
    assert opened.evaluate().accuracy == runs[0].evaluate().accuracy
    opened.export("safetensors", tmp_path / "x.safetensors")


def test_a_training_run_again_from_its_own_recipe_gives_the_same_bits(tmp_path: Path) -> None:
    first = fl.train(
        DATA,
        network=own_nets.make,
        epochs=1,
        settings=["network.pixels=standardize"],
        out=tmp_path / "first",
        quiet=True,
    )
    recipe = first.path / "recipe.toml"
    again = fl.train(DATA, recipe, network=own_nets.make, out=tmp_path / "again", quiet=True)
    assert ended(again) == ended(first)
