"""One export that many tests look at."""

from pathlib import Path

import pytest

import firstlight as fl


@pytest.fixture(scope="session")
def digits_onnx(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' run as ONNX. Not to be changed."""
    out = tmp_path_factory.mktemp("exports") / "digits.onnx"
    return digits_run.export(out=out).path


@pytest.fixture(scope="session")
def digits_pt2(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' run as PyTorch's own export. Not to be changed."""
    out = tmp_path_factory.mktemp("exports") / "digits.pt2"
    return digits_run.export("torch-export", out).path
