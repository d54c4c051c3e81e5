"""Update constraints.txt: python tools/pin_versions.py [--torch VERSION].

pip resolves the project with all its extras as if nothing were installed, and installs nothing.
Development and tests use the resulting versions from then on. PyTorch keeps the version in the
file: on Linux a newer one may bring gigabytes of GPU libraries.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
APART = {"trackio", "litert"}
"""Extras that do not fit the newest versions of the others: Trackio wants Pillow below 13, and what
LiteRT needs typing-extensions below 4.13 (tests/export/litert.txt)."""
HEAD = """\
# The versions that development and the tests use, resolved on Linux with Python 3.11. What the
# package itself takes stands in pyproject.toml, and is wide. Renew this file with: make pins
"""


def pinned() -> dict[str, str]:
    """Return name and version, as in the file."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", FILE.read_text(encoding="utf-8"), re.MULTILINE))


def resolved(torch: str) -> dict[str, str]:
    """Return name and version of all direct and indirect requirements, without local version
    tags."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = ",".join(project["project"]["optional-dependencies"].keys() - APART)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        what = [f"torch=={torch}", f"{ROOT}[{extras}]", *project["build-system"]["requires"]]
        subprocess.run(
            [*pip, "--dry-run", "--ignore-installed", "--report", report, *what], check=True
        )
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {
        re.sub(r"[-_.]+", "-", one["metadata"]["name"]).lower(): one["metadata"]["version"]
        for one in found
    }
    del versions["firstlight"]
    return {name: version.partition("+")[0] for name, version in sorted(versions.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description="Renew the versions that development uses.")
    parser.add_argument("--torch", help="default: the version that the file has")
    given = parser.parse_args()
    versions = resolved(given.torch or pinned()["torch"])
    text = HEAD + "".join(f"{name}=={version}\n" for name, version in versions.items())
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
