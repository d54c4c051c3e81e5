"""The library in a notebook: a real kernel runs the cells, progress and pictures show there."""

import base64
import os
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import v4


# The kernel's client leaves sockets to the garbage collector and uses an older event loop call.
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
