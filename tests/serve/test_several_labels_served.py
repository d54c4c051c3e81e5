"""A service of a run whose pictures have several labels, compared with the run's own answers."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.marks import NAMES, marked
from tests.serve.conftest import Tab, new_tab
from tests.serve.running import Running, running
from tests.serve.test_over_images import done

import firstlight as fl


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    return marked(tmp_path_factory.mktemp("labels"), epochs=4)


@pytest.fixture(scope="module")
def served(run: fl.Run) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))
        with running([run]) as found:
            yield found


@pytest.fixture
def tab_of_labels(browser: Any, served: Running) -> Iterator[Tab]:
    context = browser.new_context()
    yield (opened := new_tab(context, served.address))
    context.close()
    assert opened.faults == []


@pytest.fixture
def client(served: Running) -> Iterator[httpx.Client]:
    with served.client() as found:
        yield found


def rows_of(run: fl.Run) -> list[dict[str, str]]:
    with (run.path / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def picture(run: fl.Run, row: dict[str, str]) -> Path:
    return run.path.parent / "set" / row["image"]


def test_pictures_are_answered_with_their_labels(run: fl.Run, client: httpx.Client) -> None:
    for row in rows_of(run)[:5]:
        content = picture(run, row).read_bytes()
        (found,) = client.post("/api/predict", content=content).json()["predictions"]
        assert ";".join(found["labels"]) == row["predicted"]
        assert found["answer"] == (row["predicted"] or "(none)")
        assert found["probabilities"]["dot"] == pytest.approx(float(row["p_dot"]), abs=1e-6)


def test_the_open_inference_protocol_has_the_labels_joined(
    run: fl.Run, client: httpx.Client
) -> None:
    rows = rows_of(run)[:4]
    images = np.stack([np.asarray(Image.open(picture(run, row))) for row in rows])[..., None]
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape)}
    asked = {"inputs": [{**tensor, "data": images.ravel().tolist()}]}
    told = client.post("/v2/models/run/infer", json=asked)
    assert told.status_code == 200, told.text
    outputs = told.json()["outputs"]
    found = {one["name"]: one["data"] for one in outputs}
    assert found["label"] == [row["predicted"] for row in rows]


def test_the_results_are_those_of_the_run(run: fl.Run, client: httpx.Client) -> None:
    (described,) = client.get("/api/runs").json()
    assert described["labels"] == "several"
    results = client.get("/api/runs/run/results").json()
    assert results["coverage"] is None
    assert results["metrics"]["labels"] == "several"
    wrong = [row for row in rows_of(run) if row["true"] != row["predicted"]]
    mistakes = client.get("/api/runs/run/mistakes").json()
    assert mistakes["count"] == len(wrong)
    names = {
        tuple(";".join(NAMES[k] for k in one[key]) for key in ("truth", "said"))
        for one in mistakes["pictures"]
    }
    assert names <= {(row["true"], row["predicted"]) for row in wrong}
    assert client.get("/api/runs/run/cell?truth=0&said=1").status_code == 422
    truths = [one["truth"] for one in client.get("/api/runs/run/test").json()["pictures"]]
    assert truths and set(truths) <= {row["true"] or "(none)" for row in rows_of(run)}


def test_they_have_places_on_the_plane_and_an_answer_without_a_map(
    run: fl.Run, client: httpx.Client
) -> None:
    rows = rows_of(run)
    found = done(client, "/api/runs/run/plane")
    for one, row in zip(found["points"], rows, strict=True):
        assert ";".join(NAMES[k] for k in one["truth"]) == row["true"].replace("(none)", "")
        assert one["right"] == (row["true"] == row["predicted"])
    content = picture(run, rows[0]).read_bytes()
    got = client.post("/api/without?layer=0&channel=0", content=content).json()
    assert {*got["without"]["probabilities"]} == {*NAMES}
    assert ";".join(got["with"]["labels"]) == rows[0]["predicted"]


def test_the_page_shows_all_labels_and_their_figures(tab_of_labels: Tab) -> None:
    tab = tab_of_labels
    tab.open("#try/run")
    given = tab.page.locator("#bars .best .name").all_text_contents()
    assert ";".join(given) == tab.text("#answer").replace("(none)", "")
    tab.open("#results/run")
    table = tab.page.locator("#labels tbody tr td:first-child").all_text_contents()
    assert table == [*NAMES]
    assert not tab.page.locator("#confusion-card").is_visible()
    assert not tab.page.locator("#unknown-card").is_visible()
    tab.page.locator("#plane-card").scroll_into_view_if_needed()
    tab.page.locator("#plane-legend button", has_text=NAMES[0]).first.click()
    tab.shows("#plane-lit", f"images, of {NAMES[0]}")
    assert not tab.page.locator("#plane-colour").is_visible()
