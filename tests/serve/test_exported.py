"""An exported file behind the service."""

import io
from pathlib import Path

import pytest
from PIL import Image
from tests.serve.running import running

import firstlight as fl
from firstlight.evaluate.metrics import Metrics
from firstlight.runs.folder import RunFolder
from firstlight.runtime import open_onnx
from firstlight.serve.exported import open_served


def test_an_exported_file_is_served_with_the_runs_answers(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    path = digits_run.export(out=tmp_path / "digits.onnx").path
    test = fl.load("digits").test
    image = test.images_NHWC[3]
    stream = io.BytesIO()
    Image.fromarray(image[..., 0]).save(stream, "PNG")

    with running([open_onnx(path)]) as service, service.client() as client:
        (got,) = client.post("/api/predict", content=stream.getvalue()).json()["predictions"]
        (run,) = client.get("/api/runs").json()
        described = client.get("/v2/models/digits").json()
        ready = client.get("/v2/health/ready").status_code
        inside = client.post("/api/inside", content=stream.getvalue())
        results = client.get("/api/runs/digits/results").json()
        training = client.get("/api/runs/digits/training").json()
        shown = client.get("/api/runs/digits/test/3.png")

    (expected,) = digits_run.predict(image[None])
    assert got["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert (run["name"], run["data"], run["classes"]) == ("digits", "digits", list("0123456789"))
    assert run["calibration"]["threshold"] == pytest.approx(expected_threshold(digits_run))
    assert described["platform"] == "onnxruntime_onnx"
    assert ready == 200
    assert inside.status_code == 409
    assert "an exported file has no layers to show" in inside.json()["error"]
    assert results is None
    assert (training["state"], training["epochs"], training["summary"]) == ("finished", [], None)
    assert Image.open(io.BytesIO(shown.content)).size == (8, 8)


def expected_threshold(run: fl.Run) -> float:
    metrics = run.evaluate()
    assert isinstance(metrics, Metrics) and metrics.answered is not None
    return metrics.answered.threshold


def test_a_run_folder_is_still_a_run(digits_run: fl.Run) -> None:
    served = open_served([digits_run.path])[0]
    assert isinstance(served, RunFolder)
