"""The library in a notebook: a real kernel runs the cells and shows progress and figures."""

import base64
import os
import re
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import v4


# The kernel's client leaves sockets to the garbage collector and uses an outdated event loop call.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_progress_and_pictures_show_in_a_notebook(tmp_path: Path) -> None:
    cells = [
        "import firstlight as fl",
        "run = fl.train('digits', epochs=2)",
        "metrics = run.evaluate()\nprint(metrics.correct, metrics.count)",
        "run.show_predictions()",
        "run.report()",
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env=dict(os.environ))

    outputs = [cell.outputs for cell in notebook.cells]
    progress = outputs[1][-1].data["text/plain"]
    assert "epoch 1/2  loss" in progress and "epoch 2/2  loss" in progress
    correct, count = map(int, outputs[2][0].text.split())
    assert 0 < correct <= count == 360
    picture = base64.b64decode(outputs[3][0].data["image/png"])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert (tmp_path / "runs" / "digits-tutorial-1" / "report.html").is_file()


EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "first-light.ipynb"
FEWER = """
import firstlight as fl
from firstlight.data.split import limit
whole = fl.load("mnist")
fl.load = lambda name: fl.TrainTest(limit(whole.train, 6000), limit(whole.test, 1000))
"""
"""Comes before the first cell: a tenth of MNIST, so that the test is quicker."""


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_example_runs_from_top_to_bottom_and_one_can_draw(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLE, as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells.insert(0, v4.new_code_cell(FEWER))  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    with client.setup_kernel(env=dict(os.environ)):
        for at, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                client.execute_cell(cell, at)
        shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
        (frame,) = (one.data for one in shown[8] if "text/html" in one.get("data", {}))
        found = re.search(r'<iframe src="([^#]+)#token=([^"]+)"', frame["text/html"])
        assert found is not None
        request = urllib.request.Request(
            f"{found[1]}api/runs", headers={"Authorization": f"Bearer {found[2]}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert "mnist-quick-1" in answer.read().decode()

    # No warning of any library, and nothing else on standard error.
    assert not [one for outputs in shown for one in outputs if one.get("name") == "stderr"]
    html = [one.data.get("text/html", "") for outputs in shown for one in outputs if "data" in one]
    for words in (
        "6,000 images, 28×28, grey",
        "receptive field",
        "Run mnist-quick-1",
        "precision",
    ):
        assert any(words in one for one in html), words
    accuracy = float(re.search(r">(\d\d\.\d\d) % \(", "".join(html))[1])  # type: ignore[index]
    assert accuracy > 80
    assert (tmp_path / "mnist-quick-1.onnx").is_file()


def test_the_example_is_stored_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLE, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert len(notebook.cells) > 15
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
