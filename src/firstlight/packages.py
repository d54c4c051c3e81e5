"""Packages that only some commands need, and the message if one cannot be imported."""

import os
from importlib import import_module
from typing import Any

from firstlight.errors import UserError

# Modules whose package has a different name.
NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "multipart": "python-multipart"}


def report_nothing() -> None:
    """Keep onnxruntime from sending telemetry, unless the environment says otherwise.

    It reads this variable when it is imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def imported(module: str, purpose: str, install: str = "") -> Any:
    """Import and return a module. Raises ``UserError`` with advice if it is missing or broken.

    ``purpose`` begins the message; ``install`` is the argument for pip, by default the module's
    package.
    """
    try:
        return import_module(module)
    except Exception as error:  # a broken package may raise anything
        package = package_of(module)
        raise UserError(
            f"{purpose} needs {package}{trouble(module, error)} {install or package}"
        ) from error


def missing(module: str, purpose: str, install: str) -> UserError:
    """Return the error for a missing module, before it is imported."""
    return UserError(
        f"{purpose} needs {package_of(module)}, which is not installed: pip install {install}"
    )


def trouble(module: str, error: Exception) -> str:
    """Say what is wrong with a module that could not be imported: the middle of a message, after
    its name and before pip's argument."""
    from importlib.metadata import PackageNotFoundError, version  # takes a twentieth of a second

    # If a part of it is missing, it is the wrong version.
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return ", which is not installed: pip install"
    try:
        found = f" {version(package_of(module))}"
    except PackageNotFoundError:
        found = ""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
    return (
        f", which is installed{found} but cannot be imported ({type(error).__name__}: {reason}). "
        "Install a version that fits the others: pip install --upgrade"
    )


def package_of(module: str) -> str:
    """Return the name for pip."""
    root = module.partition(".")[0]
    return NAMES.get(root, root)
