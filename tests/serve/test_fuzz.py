"""Damaged pictures, malformed requests, and everything the OpenAPI document allows: never a 500,
and right answers afterwards. ``benchmarks/serve/fuzz.py`` is the long form."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serve.fuzzing import (
    Tally,
    malformed_requests,
    mutated_pictures,
    send_pictures,
    send_requests,
)
from tests.serve.running import Running, running
from tests.serve.test_service import png

import firstlight as fl


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


@pytest.fixture
def answers(served: Running, digits_run: fl.Run) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a valid picture gets the right answer."""
    image = fl.load("digits").test.images_NHWC[0]
    (expected,) = digits_run.predict(image[None])
    with served.client() as client:

        def ask() -> bool:
            (got,) = client.post("/api/predict", content=png(image)).json()["predictions"]
            return bool(got["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5))

        yield ask


def test_damaged_pictures_of_every_format_are_answered_and_never_500(
    served: Running, answers: Callable[[], bool], caplog: pytest.LogCaptureFixture
) -> None:
    tally = send_pictures(served.port, mutated_pictures(seed=0), 400, answers)
    assert_well(tally, caplog)
    assert tally.statuses.keys() <= {"200", "422"}
    assert min(tally.statuses.values()) > 20, "both kinds must occur"


def test_malformed_requests_are_answered_or_closed_and_never_500(
    served: Running, answers: Callable[[], bool], caplog: pytest.LogCaptureFixture
) -> None:
    tally = send_requests(served.port, malformed_requests(0, "digits-1"), 400, answers)
    assert_well(tally, caplog)
    assert {"200", "400", "none"} <= tally.statuses.keys()


def assert_well(tally: Tally, caplog: pytest.LogCaptureFixture) -> None:
    assert tally.faults == []
    assert not caplog.records, "a fault was logged"


def test_what_the_openapi_document_allows_is_answered_as_it_says(
    served: Running, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            f"{served.address}/openapi.json",
            *("--phases", "coverage,fuzzing", "--max-examples", "3", "--seed", "1"),
            *("--checks", "not_a_server_error,status_code_conformance"),
            *("--generation-database", "none", "--no-color"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
