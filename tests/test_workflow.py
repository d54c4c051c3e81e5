"""The workflow of the public code host runs what the package claims."""

import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
JOBS: dict[str, Any] = yaml.safe_load(TEXT)["jobs"]
SYSTEMS = ("ubuntu-latest", "macos-latest", "windows-latest")


def pythons() -> list[str]:
    """Return the Python versions of the classifiers, from the lowest to the newest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={found[0]}"
    return sorted(found, key=lambda one: int(one.partition(".")[2]))


def test_the_suite_runs_on_three_systems_with_the_lowest_and_the_newest_python() -> None:
    matrix = JOBS["suite"]["strategy"]["matrix"]
    ends = pythons()[0], pythons()[-1]
    assert set(product(matrix["system"], matrix["python"])) == set(product(SYSTEMS, ends))
    assert JOBS["suite"]["runs-on"] == "${{ matrix.system }}"


def test_every_installation_of_the_suite_is_by_the_file_of_versions() -> None:
    steps = [step.get("run", "") for step in JOBS["suite"]["steps"]]
    installs = [line for run in steps for line in run.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("-c constraints.txt" in line for line in installs)
    assert steps[-1] == "python -m pytest -q"


def test_the_lowest_and_the_newest_versions_are_tried() -> None:
    tried = JOBS["bounds"]["strategy"]["matrix"]["include"]
    assert [one["which"] for one in tried] == ["lowest", "newest"]
    assert [one["python"] for one in tried] == [pythons()[0], pythons()[-1]]
    script = re.search(r"python (tools/\w+\.py)", JOBS["bounds"]["steps"][-1]["run"])
    assert script is not None and (ROOT / script[1]).is_file()


def test_the_workflow_can_change_nothing_and_no_step_runs_text_of_a_request() -> None:
    assert yaml.safe_load(TEXT)["permissions"] == {"contents": "read"}
    assert "secrets." not in TEXT
    assert "github.event" not in TEXT


def test_every_issue_form_asks_in_fields_that_the_host_knows() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [one.name for one in forms] == ["config.yml", "wish.yml", "wrong-answer.yml"]
    for form in forms[1:]:
        values = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert values["name"] and values["description"]
        for field in values["body"]:
            assert field["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
            assert field["id"] and field["attributes"]["label"]


def test_what_runs_before_a_commit_is_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for hook in hooks["repos"][0]["hooks"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    wanted = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()]
    assert [one.replace(" --force-exclude", "") for one in entries] == [
        one.removesuffix(" .") for one in wanted
    ]
