"""The files for clusters: schedulers can read them, and the command accepts their lines."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from firstlight.cli.app import app

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sbatch"))
OPTION = re.compile(
    r"#SBATCH --(job-name=[\w-]+|array=0-\d+|nodes=\d+|ntasks-per-node=\d+|cpus-per-task=\d+"
    r"|mem=\d+G|time=\d\d:\d\d:\d\d|output=[\w%-]+\.log)"
)


def known(text: str) -> Iterator[str]:
    """Yield the firstlight commands in a script, parsed by the command itself."""
    line = r"^[^#\n]*\bfirstlight ((?:train|tune|bench)\b.*)$"
    for words in re.findall(line, text, re.MULTILINE):
        name, *rest = shlex.split(words)
        group = typer.main.get_command(app)
        command = group.get_command(typer.Context(group), name)  # type: ignore[attr-defined]
        assert command is not None, name
        command.make_context(name, rest)  # raises for anything unknown
        yield name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
def test_slurm_and_the_shell_can_read_a_batch_file(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/bash\n")
    asked = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert asked and all(OPTION.fullmatch(line) for line in asked), asked
    before, _, _ = text.partition("set -euo pipefail")
    assert all(line in before for line in asked)  # Slurm reads none after the first command
    subprocess.run(["bash", "-n", script], check=True)
    assert script.stem in set(known(text))


def test_kubernetes_can_read_the_job() -> None:
    job = yaml.safe_load((FOLDER / "tune.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completions"] == spec["parallelism"] == 8
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["/bin/sh", "-c"]
    (script,) = container["args"]
    assert list(known(script)) == ["tune"]
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    assert all(set(one) >= {"name"} for one in container["env"])
