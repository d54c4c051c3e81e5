"""Weigh what an installation brings: python tools/weigh_dependencies.py.

Of each package that pyproject.toml names, for the base and for the extras: which others come with
it, the size of their files (compiled bytecode left out), and the processor time of importing it.
The packages are those that are installed beside this Python; the extras ``cloud`` and ``notebook``
are in no other, so install them too. The result goes into benchmarks/results/dependencies.json,
which the tables in docs/design.md are made from.
"""

import json
import platform
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from firstlight.runs.record import processor_name

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "dependencies.json"
OF_DEVELOPMENT = ("dev", "docs")
TIMES = 5
MODULES = {
    "pillow": "PIL.Image",
    "safetensors": "safetensors.torch",
    "rich": "rich.progress",
    "matplotlib": "matplotlib.figure",
    "captum": "captum.attr",
    "tomli-w": "tomli_w",
    "packaging": "packaging.requirements",
    "python-multipart": "python_multipart",
    "prometheus-client": "prometheus_client",
    "scikit-learn": "sklearn.base",
    "scipy": "scipy.optimize",
    "cleanlab": "cleanlab.filter",
    "pillow-heif": "pillow_heif",
    "huggingface-hub": "huggingface_hub",
    "pyarrow": "pyarrow.parquet",
}
"""What firstlight imports of a package, where that is not the package's own name."""
PROGRAM = """
import sys, time
before = {before!r}
for name in before: __import__(name)
began = time.process_time()
for name in {names!r}: __import__(name)
print(time.process_time() - began)
"""


def brought(wanted: list[Requirement]) -> dict[str, Distribution]:
    """The installed packages that these need, and those that these need in turn."""
    found: dict[str, Distribution] = {}
    waiting, seen = list(wanted), set[tuple[str, frozenset[str]]]()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        key = name, frozenset(one.extras)
        if key in seen or not _wanted(one, {""}):
            continue
        seen.add(key)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed: pip install {name}")
        for text in found[name].requires or ():
            further = Requirement(text)
            if _wanted(further, {"", *one.extras}):
                further.marker = None
                waiting.append(further)
    return found


def _wanted(one: Requirement, extras: set[str]) -> bool:
    return one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)


def size(package: Distribution) -> int:
    """Bytes of its files, without compiled bytecode."""
    paths = [package.locate_file(one) for one in package.files or () if one.suffix != ".pyc"]
    return sum(Path(str(path)).stat().st_size for path in paths if Path(str(path)).is_file())


def seconds(names: list[str], before: list[str]) -> float:
    """The least processor time of importing them, in a new process that has ``before``."""
    modules = [MODULES.get(name, name) for name in names]
    program = PROGRAM.format(before=before, names=modules)
    words = [sys.executable, "-c", program]
    return min(
        float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        for _ in range(TIMES)
    )


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": list(map(Requirement, project["dependencies"]))}
    for extra, texts in project["optional-dependencies"].items():
        if extra not in OF_DEVELOPMENT:
            groups[extra] = list(map(Requirement, texts))
    packages: dict[str, Distribution] = {}
    base: dict[str, Any] = {}
    for one in groups[""]:
        found = brought([one])
        packages |= found
        before = {"torch": [], "numpy": []}.get(one.name, ["numpy", "torch"])
        base[one.name] = {"needs": sorted(found), "seconds": seconds([one.name], before)}
    extras: dict[str, Any] = {}
    for extra, wanted in groups.items():
        if extra:
            found = brought(wanted)
            packages |= found
            names = [one.name for one in wanted]
            took = seconds(names, ["numpy", "torch"])
            extras[extra] = {"names": names, "needs": sorted(found), "seconds": took}
    result = {
        "command": "python tools/weigh_dependencies.py",
        "python": platform.python_version(),
        "system": f"{platform.system()}, {platform.machine()}",
        "processor": processor_name(),
        "packages": {
            name: {"version": one.version, "bytes": size(one)}
            for name, one in sorted(packages.items())
        },
        "base": base,
        "extras": extras,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(RESULT)


if __name__ == "__main__":
    main()
