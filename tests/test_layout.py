"""Which part may import which, as in docs/design.md; and that starting up stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import draw_design
import firstlight

ROOT = Path(firstlight.__file__).parent
ALWAYS = {
    "cache",
    "cells",
    "errors",
    "recipe",
    "reads",
    "checked",
    "devices",
    "files",
    "hub",
    "launcher",
    "locks",
    "memory",
    "packages",
    "plain",
    "threads",
    "untrusted",
}
MAY = {
    "pixels": set(),
    "layers": {"parts", "models"},
    "augment": {"parts"},
    "optimizers": {"parts"},
    "models": {"layers"},
    "data": {"pixels"},
    "backbones": {"layers", "models", "pixels", "runs"},
    "evaluate": {"pixels", "models"},
    "explain": {"pixels", "evaluate", "layers"},
    "training": {"augment", "optimizers", "models", "pixels", "evaluate"},
    "export": {"runs", "layers", "models", "pixels", "evaluate"},
    "onnx_file": set(),
    "runtime": {"onnx_file", "pixels", "evaluate"},
    "model": {"runs", "runtime", "layers", "pixels", "evaluate", "training"},
    "runs": {"layers", "models", "pixels", "training", "evaluate", "legacy"},
    "report": {"evaluate", "explain"},
    "track": {"runs", "layers"},
    "verbs": {
        *("pixels", "augment", "models", "data", "evaluate", "training", "runs", "report"),
        *("explain", "export", "model", "runtime", "progress", "interrupt"),
        *("layers", "optimizers", "schedules", "parts", "toml_text", "backbones", "track"),
        "differences",
    },
    "differences": {"parts", "toml_text"},
    "serve": {
        *("layers", "pixels", "data", "evaluate", "explain", "runs", "runtime", "model"),
        "differences",
    },
    "studio": {
        *("serve", "verbs", "progress", "training", "runs", "backbones", "layers", "data"),
        *("pixels", "evaluate", "explain", "parts", "toml_text"),
    },
}


def imported_parts(path: Path) -> set[str]:
    """Return the parts of the package that a module imports anywhere, including for type
    checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
            if node.module != "firstlight":
                names = names[:1]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("firstlight.")}
    return found - {"__version__"}


@pytest.mark.parametrize("part", sorted(MAY))
def test_each_part_imports_only_what_the_design_lets_it(part: str) -> None:
    single = ROOT / f"{part}.py"
    files = [single] if single.exists() else sorted((ROOT / part).glob("**/*.py"))
    assert files
    for path in files:
        excess = imported_parts(path) - MAY[part] - ALWAYS - {part}
        assert not excess, f"{path.name} imports {excess}"


def test_no_part_imports_the_command_and_the_command_only_verbs_and_values() -> None:
    for path in ROOT.glob("**/*.py"):
        if path.parent.name != "cli" and path.name != "__main__.py":
            assert "cli" not in imported_parts(path), path


@pytest.mark.parametrize("part", ["serve", "verbs"])
def test_nothing_is_cast_to_look_like_a_model(part: str) -> None:
    for path in (ROOT / part).glob("*.py"):
        assert "cast" not in {
            node.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Name)
        }, path


MOST_PARAMETERS = 6
PUBLIC = {"library.py", "estimator.py", "from_images"}
"""Files and functions that a user calls with settings."""


def with_many_parameters(path: Path) -> set[str]:
    """Return the functions of a file with more than six parameters, not counting ``self``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        given = node.args
        taken = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
        taken |= {f"*{one.arg}" for one in (given.vararg, given.kwarg) if one is not None}
        if len(taken - {"self", "cls"}) > MOST_PARAMETERS:
            found.add(getattr(node, "name", "lambda"))
    return found


def test_no_function_below_the_ways_in_takes_more_than_six_parameters() -> None:
    paths = [path for path in ROOT.glob("**/*.py") if path.parent.name != "cli"]
    assert len(paths) > 100
    for path in paths:
        excess = with_many_parameters(path) - PUBLIC
        assert not excess or path.name in PUBLIC, f"{path.relative_to(ROOT)}: {excess}"


def test_what_takes_many_parameters_is_found(tmp_path: Path) -> None:
    path = tmp_path / "it.py"
    path.write_text(
        "def six(a, b, c, d, e, f): ...\n"
        "class Thing:\n"
        "    def method(self, a, b, c, d, e, f): ...\n"
        "    async def far(self, a, b, /, c, d, *, e, f, g): ...\n"
        "def seven(a, b, c, d, e, *more, **named): ...\n"
    )
    assert with_many_parameters(path) == {"far", "seven"}


def loaded_after(program: str) -> set[str]:
    code = f"{program}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parents[1],
    )
    return set(done.stdout.split())


def test_importing_the_package_or_the_command_loads_no_heavy_library() -> None:
    heavy = {
        "torch",
        "numpy",
        "matplotlib",
        "sklearn",
        "scipy",
        "PIL",
        "rich",
        "captum",
        "fastapi",
        "uvicorn",
    }
    assert loaded_after("import firstlight") & heavy == set()
    assert loaded_after("import firstlight.cli.app") & (heavy - {"rich"}) == set()


@pytest.mark.parametrize("recipe", ["mnist-quick", "mnist-tutorial"])
def test_to_train_and_evaluate_loads_no_compiler_and_no_scientific_library(recipe: str) -> None:
    """Each takes half a second to two seconds, of a training of three."""
    program = f"""
import tempfile
import firstlight as fl
from tests.kit import striped
with tempfile.TemporaryDirectory() as folder:
    settings = ["train.validation=held-out", "train.held_out_fraction=0.3"]
    run = fl.train(
        striped(200, 28), "{recipe}", settings=settings, epochs=1, out=folder + "/run", quiet=True
    )
    run.evaluate()
"""
    heavy = {"torch._dynamo", "torch._inductor", "sympy", "scipy", "sklearn", "matplotlib"}
    assert loaded_after(program) & heavy == set()


def test_every_public_name_is_there() -> None:
    for name in firstlight.__all__:
        assert getattr(firstlight, name) is not None
    assert set(firstlight.__all__) <= set(dir(firstlight))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        firstlight.__getattr__("nothing")


def test_no_public_name_is_also_a_module_that_would_take_its_place_once_imported() -> None:
    modules = {path.stem for path in ROOT.iterdir()} - {"__init__"}
    assert not modules & set(firstlight.__all__)


def test_the_picture_of_the_design_is_drawn_from_the_code_as_it_is() -> None:
    drawn = draw_design.picture()
    assert draw_design.PICTURE.read_text(encoding="utf-8") == drawn
    assert set(draw_design.HOLDS) >= set(MAY) - {"onnx_file"}
