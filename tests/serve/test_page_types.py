"""The page's modules pass TypeScript's checker, as ``jsconfig.json`` sets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKER = Path(sys.prefix) / "web" / "node_modules" / "typescript" / "lib" / "tsc.js"
"""Installed by the Makefile."""


@pytest.fixture
def check() -> list[str]:
    if not CHECKER.is_file() or shutil.which("node") is None:
        pytest.skip("no TypeScript here: make test fetches it where there is npm")
    return ["node", str(CHECKER), "-p"]


def test_every_module_of_the_page_has_no_error_of_types(check: list[str]) -> None:
    modules = subprocess.run(
        [*check, str(ROOT / "jsconfig.json"), "--listFilesOnly"],
        capture_output=True,
        text=True,
        check=True,
    )
    checked = {Path(line).name for line in modules.stdout.splitlines() if "/static/" in line}
    there = {path.name for path in (ROOT / "src").glob("firstlight/*/static/*.js")}
    assert checked == there
    done = subprocess.run([*check, str(ROOT / "jsconfig.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_wrong_name_is_found(check: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("export const twice = (n) => 2 * m;\n")
    config = json.loads((ROOT / "jsconfig.json").read_text())
    (tmp_path / "jsconfig.json").write_text(json.dumps({**config, "include": ["*.js"]}))
    place = str(tmp_path / "jsconfig.json")
    done = subprocess.run([*check, place], capture_output=True, text=True)
    assert "Cannot find name 'm'" in done.stdout
