"""The Open Inference Protocol, as used by Triton's own client."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.serve.running import Running, running
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

import firstlight as fl


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


@pytest.fixture
def client(served: Running) -> Iterator[InferenceServerClient]:
    client = InferenceServerClient(f"127.0.0.1:{served.port}")
    yield client
    client.close()


def test_tritons_client_finds_the_server_and_the_model(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits-1")
    assert client.get_server_metadata()["name"] == "firstlight"
    metadata = client.get_model_metadata("digits-1")
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}]
    assert {o["name"]: o["shape"] for o in metadata["outputs"]} == {
        "probabilities": [-1, 10],
        "label": [-1],
    }


def test_tritons_client_finds_version_1_and_no_other(client: InferenceServerClient) -> None:
    assert client.is_model_ready("digits-1", "1")
    metadata = client.get_model_metadata("digits-1", "1")
    assert metadata["versions"] == ["1"]
    assert metadata == client.get_model_metadata("digits-1")
    for version in ("0", "2", "01", "latest"):
        assert not client.is_model_ready("digits-1", version)
        with pytest.raises(InferenceServerException, match="no such version; the only one is 1"):
            client.get_model_metadata("digits-1", version)
        with pytest.raises(InferenceServerException, match="no such version; the only one is 1"):
            client.infer("digits-1", [InferInput("image", [1], "UINT8")], version)


@pytest.mark.parametrize(
    ("binary_input", "binary_output", "version", "packed"),
    [
        (True, True, "", None),
        (True, False, "1", "gzip"),
        (False, True, "1", "deflate"),
        (False, False, "", "gzip"),
        (True, True, "1", "deflate"),
    ],
)
def test_tritons_client_gets_the_answers_that_predict_gives(
    client: InferenceServerClient,
    digits_run: fl.Run,
    binary_input: bool,
    binary_output: bool,
    version: str,
    packed: str | None,
) -> None:
    images = fl.load("digits").test.images_NHWC[:7]
    given = InferInput("image", list(images.shape), "UINT8")
    given.set_data_from_numpy(images, binary_data=binary_input)
    outputs = [
        InferRequestedOutput(name, binary_data=binary_output) for name in ("probabilities", "label")
    ]

    result = client.infer(
        "digits-1",
        [given],
        version,
        outputs=outputs,
        request_id="seven",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,  # which a server need not do
    )

    expected = digits_run.predict(images)
    assert result.get_response()["id"] == "seven"
    assert result.get_response()["model_version"] == "1"
    labels = [n.decode() if isinstance(n, bytes) else n for n in result.as_numpy("label")]
    assert labels == [p.best for p in expected]
    wanted = np.array([[p.probabilities[str(k)] for k in range(10)] for p in expected])
    np.testing.assert_allclose(result.as_numpy("probabilities"), wanted, atol=1e-5)


def test_a_wrong_shape_and_an_unknown_model_are_told(client: InferenceServerClient) -> None:
    wrong = InferInput("image", [1, 9, 9, 1], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 9, 9, 1), dtype=np.uint8))
    with pytest.raises(InferenceServerException, match=r"wanted the shape \[N, 8, 8, 1\]"):
        client.infer("digits-1", [wrong])
    assert not client.is_model_ready("other")


GREY = [[[[number % 256] for number in range(row, row + 8)] for row in range(8)]]
FLAT = [number for row in GREY[0] for (number,) in row]


@pytest.mark.parametrize("data", [FLAT, GREY])
def test_numbers_are_taken_in_one_list_or_nested_as_the_shape(
    served: Running, digits_run: fl.Run, data: list[object]
) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": data}
    with served.client() as plain:
        answer = plain.post("/v2/models/digits-1/infer", json={"inputs": [tensor]}).json()
    (expected,) = digits_run.predict(np.array(GREY, dtype=np.uint8))
    assert answer["outputs"][1]["data"] == [expected.best]


@pytest.mark.parametrize(
    ("data", "parameters", "says"),
    [
        ([True] * 64, {}, "64 whole numbers"),
        ([1.0] * 64, {}, "64 whole numbers"),
        (["1"] * 64, {}, "64 whole numbers"),
        ([None] * 64, {}, "64 whole numbers"),
        ([[0] * 63, [0]], {}, "nested as the shape"),
        ([[[[0]] * 4] * 16], {}, "nested as the shape"),
        ([[0] * 64], {}, "nested as the shape"),
        ([0, [0] * 63], {}, "nested as the shape"),
        ({"0": 0}, {}, "64 whole numbers"),
        ([0] * 64, {"shared_memory_region": "a"}, "not shared_memory_region"),
    ],
)
def test_other_data_is_refused(
    served: Running, data: object, parameters: dict[str, object], says: str
) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": data}
    with served.client() as plain:
        body = {"inputs": [{**tensor, "parameters": parameters}]}
        answer = plain.post("/v2/models/digits-1/infer", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_an_output_in_a_way_that_is_not_done_is_refused(client: InferenceServerClient) -> None:
    given = InferInput("image", [1, 8, 8, 1], "UINT8")
    given.set_data_from_numpy(np.zeros((1, 8, 8, 1), dtype=np.uint8))
    wanted = InferRequestedOutput("probabilities", class_count=3)
    with pytest.raises(InferenceServerException, match="not classification"):
        client.infer("digits-1", [given], outputs=[wanted])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"[]", "wanted an object"),
        (b'{"inputs": []}', "one of inputs"),
        (b'{"inputs": [{"name": "image", "datatype": "FP32"}]}', "UINT8"),
        (
            b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], '
            b'"data": [1, 2]}]}',
            "64 whole numbers",
        ),
        (
            b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1], '
            b'"data": []}]}',
            "N of at least 1",
        ),
        (
            b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], '
            b'"data": [' + b"0," * 63 + b"256]}]}",
            "from 0 to 255",
        ),
    ],
)
def test_a_malformed_request_is_answered_400_with_the_reason(
    served: Running, body: bytes, says: str
) -> None:
    with served.client() as plain:
        answer = plain.post("/v2/models/digits-1/infer", content=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_floats_are_told_what_to_do_in_whatever_form_they_come(
    client: InferenceServerClient,
) -> None:
    """Truncated floats in [0, 1] are levels of 0 and 1; every answer to them would be wrong."""
    floats = np.random.default_rng(0).random((2, 8, 8, 1), dtype=np.float32)
    as_floats = InferInput("image", floats.shape, "FP32")
    as_floats.set_data_from_numpy(floats)
    cut = np.rint(floats).astype(np.uint8)
    as_levels = InferInput("image", cut.shape, "UINT8")
    as_levels.set_data_from_numpy(cut)
    as_json = InferInput("image", cut.shape, "UINT8")
    as_json.set_data_from_numpy(cut, binary_data=False)
    for given in (as_floats, as_levels, as_json):
        with pytest.raises(InferenceServerException, match="by 255"):
            client.infer("digits-1", [given])
    black = InferInput("image", cut.shape, "UINT8")
    black.set_data_from_numpy(np.zeros_like(cut))
    assert client.infer("digits-1", [black]).as_numpy("label").shape == (2,)
