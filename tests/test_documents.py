"""The examples in the documents work, and their tables match the result files."""

import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command

import firstlight as fl
from firstlight import optimizers, schedules
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset
from firstlight.data.load import load, where_found
from firstlight.data.split import limit
from firstlight.recipe import load_recipe, network_of, recipe_names, recipe_of

ROOT = Path(__file__).resolve().parent.parent


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_page_of_data_sets_lists_the_catalogue() -> None:
    text = (ROOT / "docs/data-sets.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [row[0].strip("`") for row in rows] == list(CATALOG)
    for (_, train, test, classes, pixels, known, recipe), entry in zip(
        rows, CATALOG.values(), strict=True
    ):
        height, width, channels = entry.image_shape
        assert train == f"{entry.train_count:,}" and test == f"{entry.test_count:,}"
        assert classes == str(len(entry.class_names))
        assert pixels == f"{height} × {width}, {'grey' if channels == 1 else 'colour'}"
        assert known == ("files" if entry.content is None else "content")
        own = any(name.startswith(f"{entry.name}-") for name in recipe_names())
        like = f"`{entry.recipes}-standard`" if entry.recipes else "made for its images"
        assert recipe == ("its own" if own else like)


PAGES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
)


@pytest.mark.parametrize("document", PAGES)
def test_no_table_has_an_empty_column(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        _, rule, *rows = [line.strip()[1:-1].split("|") for line in table.splitlines()]
        assert all(set(cell) <= set("-: ") for cell in rule), table
        filled = [any(cell.strip() for cell in column) for column in zip(*rows, strict=False)]
        assert filled and all(filled), table


def small_mnist(name: str) -> fl.TrainTest:
    """Return 600 images per part of MNIST if it is on this machine, or else enlarged embedded
    digits."""
    assert name == "mnist"
    if where_found(CATALOG["mnist"]) is not None:
        return fl.TrainTest(*(limit(part, 600) for part in load("mnist", download=False)))
    parts = []
    for part in (limit(part, 300) for part in load("digits")):
        larger_NHWC = np.pad(
            part.images_NHWC.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2), (0, 0))
        )
        parts.append(
            Dataset(
                name=part.name.replace("digits", "mnist"),
                images_NHWC=larger_NHWC,
                labels_N=part.labels_N,
                class_names=part.class_names,
            )
        )
    return fl.TrainTest(*parts)


@pytest.mark.parametrize("document", ["README.md", "docs/tutorial.md"])
def test_the_python_of_the_documents_runs_from_top_to_bottom(
    document: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fl, "load", small_mnist)
    program = "\n".join(blocks(document, "python"))
    names: dict[str, object] = {}

    exec(compile(program, document, "exec"), names)

    run = names["run"]
    assert isinstance(run, fl.Run)
    assert run.summary["parameters"] == 121_930
    assert run.summary["epochs"] == 5
    assert run.evaluate().accuracy > 0.5


def test_the_tutorial_s_changes_are_the_same_in_python_in_toml_and_as_measured() -> None:
    names: dict[str, Any] = {}
    for block in blocks("docs/tutorial.md", "python"):
        if block.startswith(("from firstlight import layers", "deeper", "normed", "dropped")):
            exec(block, names | {"fl": fl}, names)
    result = ROOT / "benchmarks" / "results" / "tutorial_changes.json"
    measured = json.loads(result.read_text(encoding="utf-8"))["networks"]
    shown = blocks("docs/tutorial.md", "toml")
    changes = {"deeper": "convolution", "normed": "batch-norm", "dropped": "dropout"}
    assert len(shown) == len(changes)
    for (name, change), block in zip(changes.items(), shown, strict=True):
        recipe = recipe_of(measured[f"mnist-tutorial-{change}"]["recipe"], source=change)
        assert recipe.network.layers == tuple(names[name]), name
        assert network_of(tomllib.loads(block)["network"]) == recipe.network, name
        tutorial = load_recipe("mnist-tutorial")
        assert recipe.train == tutorial.train and recipe.optimizer == tutorial.optimizer


@pytest.mark.real_data
def test_the_commands_of_the_readme_run_in_their_order(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTLIGHT_EPOCHS", "1")
    Image.fromarray(load("mnist").test.images_NHWC[0, ..., 0]).save("my-digit.png")
    lines = [
        line[2:].split() for block in blocks("README.md", "console") for line in block.splitlines()
    ]
    assert next(words[:2] for words in lines) == ["firstlight", "data"]
    assert len(lines) == 5
    for words in lines:
        more = ["--limit", "3000"] if words[1] == "train" else []
        done = command(*words[1:], *more)
        assert done.code == 0, done.err


def test_the_tables_are_those_of_the_result_files() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_was_measured_is_the_recipe_as_it_is_now_or_is_called_an_earlier_form() -> None:
    rows = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").splitlines()
    for path in sorted((ROOT / "benchmarks" / "results").glob("bench-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        own = ROOT / "benchmarks" / "recipes" / f"{measured['name']}.toml"
        now = load_recipe(own if own.exists() else measured["name"])
        was = recipe_of(measured, source=path.name)
        same = replace(was, name=now.name, description=now.description) == now
        (row,) = (row for row in rows if path.name in row)
        assert same == ("an earlier form" not in row), path.name


def test_the_networks_page_shows_the_layers_of_the_recipes() -> None:
    shown = blocks("docs/networks.md", "toml")
    names = [block.splitlines()[0].removeprefix("# ") for block in shown]
    assert len(names) == 8
    for name, block in zip(names, shown, strict=True):
        assert network_of(tomllib.loads(block)).layers == load_recipe(name).network.layers, name


def test_the_badge_opens_the_example_where_the_project_is_published() -> None:
    """On the hosted notebook service, once the project has an address on the code host."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address, there = project.get("urls", {}).get("Repository"), "examples/first-light.ipynb"
    if address is not None:
        place = address.removeprefix("https://github.com/").rstrip("/")
        there = f"https://colab.research.google.com/github/{place}/blob/main/{there}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"[![Try it in a notebook](docs/pictures/notebook.svg)]({there})" in readme


def anchors(text: str) -> set[str]:
    """Return the anchors that the code host and the site give to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_inside_the_project_leads_somewhere() -> None:
    first = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    for path in (*(ROOT / name for name in first), *sorted((ROOT / "docs").rglob("*.md"))):
        document = path.relative_to(ROOT)
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            target, _, place = link.partition("#")
            if target.startswith("https://"):
                continue
            there = path.parent / target if target else path
            assert there.exists(), f"{document}: {link}"
            if place:
                assert place in anchors(there.read_text(encoding="utf-8")), f"{document}: {link}"


OPTIMIZER_NAMES = set(optimizers.__all__) - {"OPTIMIZERS", "Optimizer"}
SCHEDULE_NAMES = {kind.__name__ for kind in schedules.SCHEDULES.values()}


def test_the_reference_names_what_the_library_offers_and_each_name_says_what_it_is() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    directives = re.findall(
        r"^\.\. auto(?:function|class|exception|data):: (\S+)", text, re.MULTILINE
    )
    named = [name.removeprefix("firstlight.") for name in directives]

    values = {*OPTIMIZER_NAMES, *SCHEDULE_NAMES}  # documented under their modules
    assert {name for name in named if "." not in name} | values == set(fl.__all__)
    assert len(named) == len(set(named))
    for name in named:
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(f"firstlight.{module}".rstrip(".")), last), name
    for name in set(fl.__all__) - {"__version__"}:
        offered = getattr(fl, name)
        assert inspect.getdoc(offered), name
        for part, value in vars(offered).items() if inspect.isclass(offered) else ():
            if not part.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{part}"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<a href="other.html#there">x</a><img src="a.png" alt="A dot">', None),
        ('<a href="https://example.org/">x</a>', None),
        ('<a href="gone.html">x</a>', "gone.html: no such file"),
        ('<a href="other.html#gone">x</a>', "other.html#gone: no such place on that page"),
        ('<a href="#gone">x</a>', "#gone: no such place on that page"),
        ('<img src="gone.png" alt="A dot">', "gone.png: no such file"),
        ('<img src="a.png">', "a picture without description: a.png"),
        ('<script src="https://example.org/a.js"></script>', "loads from elsewhere: https://"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "loads from elsewhere: //example"),
        ('<a href="../secret.html">x</a>', "../secret.html: no such file"),
    ],
)
def test_the_built_site_is_searched_for_links_that_lead_nowhere_and_for_other_hosts(
    body: str, complaint: str | None, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(body)
    (site / "other.html").write_text('<h1 id="there">x</h1>')
    (site / "a.png").write_bytes(b"")
    (tmp_path / "secret.html").write_text("")

    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "check_site.py", site], capture_output=True, text=True
    )

    assert done.returncode == (0 if complaint is None else 1), done.stderr
    if complaint is not None:
        assert f"index.html: {complaint}" in done.stderr


def test_the_demo_ends_with_digits_where_there_is_no_mnist(nothing_cached: Path) -> None:
    shutil.copy(ROOT / "examples" / "demo.py", nothing_cached)
    # Every connection fails at once, as on a machine without a network.
    program = (
        "import socket, runpy\n"
        "def unplugged(*_, **__): raise OSError('Network is unreachable')\n"
        "socket.create_connection = unplugged\n"
        "runpy.run_path('demo.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=nothing_cached
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "NOT MNIST" in lines[0]
    assert re.search(
        r"digits: \d\d\.\d\d % of 360 test images correct \(95 % interval", done.stdout
    )
    assert Path(lines[-1].removeprefix("report with pictures: ")).is_file()
