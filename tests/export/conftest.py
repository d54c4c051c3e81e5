"""Exports that many tests use."""

from pathlib import Path

import pytest

import firstlight as fl


@pytest.fixture(scope="session")
def digits_onnx(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the digits' run as ONNX. Do not change it."""
    out = tmp_path_factory.mktemp("exports") / "digits.onnx"
    return digits_run.export(out=out).path


@pytest.fixture(scope="session")
def digits_pt2(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the digits' run as PyTorch's own export. Do not change it."""
    out = tmp_path_factory.mktemp("exports") / "digits.pt2"
    return digits_run.export("torch-export", out).path
