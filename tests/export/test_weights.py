"""The weights alone, and PyTorch's own export, read by programs without firstlight."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import firstlight as fl

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plain_pytorch.py"


def test_the_example_gives_predicts_answers_in_plain_pytorch(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    images = fl.load("digits").test.images_NHWC[:40]
    np.save(tmp_path / "images.npy", images)
    done = digits_run.export("safetensors", tmp_path / "it.safetensors")
    program = (
        "import runpy, sys\n"
        "sys.modules['firstlight'] = None\n"  # importing it fails
        f"sys.argv = ['it', {str(done.path)!r}, 'images.npy']\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )

    assert ran.returncode == 0, ran.stderr
    for line, answer in zip(ran.stdout.splitlines(), digits_run.predict(images), strict=True):
        name, confidence = line.split()
        assert name == answer.best
        assert float(confidence) == pytest.approx(answer.confidence, abs=1e-5)


def test_the_example_is_forty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40


def test_pytorchs_own_export_takes_images_of_any_size(digits_run: fl.Run, tmp_path: Path) -> None:
    done = digits_run.export("torch-export", tmp_path / "it.pt2")

    extra = {"firstlight.json": ""}
    program = torch.export.load(done.path, extra_files=extra).module()
    images = fl.load("digits").test.images_NHWC[:7]
    probabilities, label = program(torch.from_numpy(images))
    answers = digits_run.predict(images)
    assert [str(int(number)) for number in label] == [answer.best for answer in answers]
    np.testing.assert_allclose(
        probabilities.detach().max(1).values.numpy(),
        [answer.confidence or 0.0 for answer in answers],
        atol=1e-5,
    )
    larger = np.kron(images, np.ones((1, 4, 4, 1), dtype=np.uint8))
    np.testing.assert_array_equal(program(torch.from_numpy(larger))[1], label)
    assert json.loads(extra["firstlight.json"])["class_names"] == list("0123456789")
