"""Pictures as base64 in JSON, as sent by clients of TensorFlow Serving and KServe's version 1."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.serve.running import Running, running
from tests.serve.test_service import png

import firstlight as fl

ONE, OTHER = "/v1/models/digits-1:predict", "/v1/models/digits-1/versions/1:predict"


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


@pytest.fixture
def client(served: Running) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


def text(number: int) -> str:
    """Return a test image's file as base64."""
    return base64.b64encode(png(fl.load("digits").test.images_NHWC[number])).decode()


@pytest.mark.parametrize("path", [ONE, OTHER, "/api/predict"])
def test_instances_get_the_answers_that_predict_gives(
    client: httpx.Client, digits_run: fl.Run, path: str
) -> None:
    first = text(0)
    instances: list[Any] = [
        {"b64": first},
        {"image": {"b64": text(1)}},
        {"b64": f"data:image/png;base64,{text(2)}"},
        {"b64": "\n".join(first[at : at + 76] for at in range(0, len(first), 76))},
        {"b64": first.replace("+", "-").replace("/", "_")},
    ]
    expected = digits_run.predict(fl.load("digits").test.images_NHWC[[0, 1, 2, 0, 0]])
    answer = client.post(path, json={"instances": instances, "signature_name": "serving_default"})
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    assert [p["best"] for p in predictions] == [e.best for e in expected]
    for got, wanted in zip(predictions, expected, strict=True):
        assert got["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-5)


def test_json_is_known_without_its_content_type(client: httpx.Client) -> None:
    body = json.dumps({"instances": [{"b64": text(0)}]})
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        answer = client.post("/api/predict", content=body, headers={"content-type": kind})
        assert answer.status_code == 200


def test_a_picture_that_cannot_be_read_is_told_in_its_place(client: httpx.Client) -> None:
    broken = base64.b64encode(b"no picture").decode()
    answer = client.post(ONE, json={"instances": [{"b64": broken}, {"b64": text(0)}]})
    none, one = answer.json()["predictions"]
    assert "instances[0]: not a picture" in none["error"]
    assert one["best"] is not None
    assert client.post(ONE, json={"instances": [{"b64": broken}]}).status_code == 422


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"{" * 3000, "not JSON"),
        (b"[]", "must hold instances"),
        (b"{}", "must hold instances"),
        (b'{"instances": []}', "must hold instances"),
        (b'{"instances": {"b64": "QQ=="}}', "must hold instances"),
        (b'{"inputs": [{"b64": "QQ=="}]}', "must hold instances"),
        (b'{"instances": [{"b64": "QQ=="}], "parameters": {}}', "must hold instances"),
        (b'{"image": "QQ=="}', "must hold instances"),
        (b'{"instances": ["QQ=="]}', "instances[0] is not a picture"),
        (b'{"instances": [[0, 1, 2]]}', "instances[0] is not a picture"),
        (b'{"instances": [{"b64": 7}]}', "instances[0] is not a picture"),
        (b'{"instances": [{"b64": "QQ==", "key": 1}]}', "instances[0] is not a picture"),
        (b'{"instances": [{"b64": "QQ=="}, {"b64": "Q"}]}', "instances[1]: b64 is not base64"),
        (b'{"instances": [{"b64": "Q?=="}]}', "instances[0]: b64 is not base64"),
        ('{"instances": [{"b64": "é"}]}'.encode(), "instances[0]: b64 is not base64"),
        (b'{"instances": [' + b'{"b64": "QQ=="},' * 64 + b'{"b64": "QQ=="}]}', "at most 64"),
        (b'{"instances": [' + b"{}," * 100_000 + b"{}]}", "too many values"),
    ],
)
def test_other_json_is_told_what_is_wanted(client: httpx.Client, body: bytes, says: str) -> None:
    for path in (ONE, "/api/predict"):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert says in error
        assert (
            "not base64" in says or "at most" in says or '{"instances": [{"b64": "..."}]}' in error
        )


@pytest.mark.parametrize("start", ["", "data:image/png;base64,", "image=", "file=data:image/png,"])
def test_a_pictures_text_sent_as_a_picture_is_told_what_is_wanted(
    client: httpx.Client, start: str
) -> None:
    answer = client.post("/api/predict", content=start + text(0))
    assert answer.status_code == 422
    assert 'wanted {"instances": [{"b64": "..."}]}' in answer.json()["error"]


def test_a_model_says_that_it_can_answer_as_both_have_it(client: httpx.Client) -> None:
    for path in ("/v1/models/digits-1", "/v1/models/digits-1/versions/1"):
        values = client.get(path).json()
        assert (values["name"], values["ready"]) == ("digits-1", True)
        assert values["model_version_status"][0]["state"] == "AVAILABLE"
    assert client.get("/v1/models").json() == {"models": ["digits-1"]}
    for path in ("/v1/models/other", "/v1/models/digits-1/versions/2", "/v1/nothing"):
        assert client.get(path).status_code == 404
    for path in ("/v1/models/other:predict", "/v1/models/digits-1/versions/2:predict"):
        assert client.post(path, json={}).status_code == 404
    for path in (ONE, OTHER):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
