"""The model repository for Triton, read as Triton and its onnxruntime backend read it.

Triton does not run here. Its configuration is parsed by the class that NVIDIA generates from its
schema, and the rules are those that the backend checks when it loads a model.
"""

import errno
import importlib.util
import re
import sys
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from google.protobuf import text_format
from PIL import Image
from tests.kit import Command
from tests.serve.running import running

import firstlight as fl
from firstlight.errors import DataError
from firstlight.export.triton import model_name, repository
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder
from firstlight.runtime import open_onnx

CLIENT = Path(__file__).resolve().parents[2] / "examples" / "inference_client.py"
TYPES = {
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(float)": "TYPE_FP32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(bool)": "TYPE_BOOL",
}
"""Maps onnxruntime's names to Triton's."""
ODD = [
    "../..",
    ".",
    "a b/c",
    "\x1b[31mrun\n",
    'say "hi"\\',
    "חתול",
    "true",
    "7-Up",
    "x" * 90,
    "é.1_-",
]


def module(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def schema() -> Any:
    """Return Triton's ``model_config.proto`` from its client, whose other parts need gRPC."""
    file = distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
    return module("model_config_pb2", Path(str(file)))


@pytest.fixture(scope="module")
def folder(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the digits' run as a repository. Do not change it."""
    out = tmp_path_factory.mktemp("exports") / "models"
    done = digits_run.export("triton", out)
    assert done.served_as == "digits-1"
    assert done.size == sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return done.path


def config(schema: Any, text: str | bytes) -> Any:
    return text_format.Parse(text, schema.ModelConfig())


def card_of(folder: Path) -> dict[str, Any]:
    """Return the metadata of the ONNX file in a repository."""
    model = open_onnx(folder / "digits-1" / "1" / "model.onnx")
    return {
        "firstlight": model.card["firstlight"],
        "class_names": list(model.class_names),
        "preprocess": model.preprocess.to_json(),
        "calibration": {"threshold": model.threshold},
    }


def check_loads(schema: Any, model: Path) -> None:
    """Check the rules by which Triton refuses a model, in a folder with Triton's name for it."""
    found = config(schema, (model / "config.pbtxt").read_bytes())
    assert found.name == model.name
    assert (found.backend, found.platform) == ("onnxruntime", "")
    assert found.max_batch_size > 0
    assert [one.name for one in model.iterdir() if one.is_dir()] == ["1"]

    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    # The backend needs all inputs, and accepts a subset of the outputs.
    assert [one.name for one in found.input] == list(inputs)
    assert {one.name for one in found.output} <= set(outputs)
    for one in [*found.input, *found.output]:
        tensor = (inputs | outputs)[one.name]
        assert schema.DataType.Name(one.data_type) == TYPES[tensor.type]
        # Axes of any size have names, and the first is the batch.
        first, *sides = [-1 if isinstance(side, str) else side for side in tensor.shape]
        assert first == -1
        dims = list(one.reshape.shape) if one.HasField("reshape") else list(one.dims)
        assert dims == sides
        assert one.dims and all(side == -1 or side > 0 for side in one.dims)
        assert np.prod(one.dims) == np.prod(dims)
    for one in found.output:
        if one.label_filename:
            lines = (model / one.label_filename).read_bytes().split(b"\n")
            assert len(lines) - 1 == one.dims[0] and lines[-1] == b""


def test_triton_would_load_the_model(schema: Any, folder: Path) -> None:
    assert sorted(one.name for one in folder.iterdir()) == ["README.md", "digits-1", "kserve.yaml"]
    check_loads(schema, folder / "digits-1")
    found = config(schema, (folder / "digits-1" / "config.pbtxt").read_bytes())
    assert found.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert found.dynamic_batching.max_queue_delay_microseconds == 0


def test_requests_put_together_get_the_answers_of_the_run(
    schema: Any, digits_run: fl.Run, folder: Path
) -> None:
    model = folder / "digits-1"
    found = config(schema, (model / "config.pbtxt").read_bytes())
    images = fl.load("digits").test.images_NHWC[: found.max_batch_size]
    names = (model / found.output[0].label_filename).read_text("utf-8").split("\n")
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    wanted = [one.name for one in found.output]

    rows, labels = session.run(wanted, {found.input[0].name: images})

    expected = digits_run.predict(images)
    assert len(rows) == found.max_batch_size
    assert [names[number] for number in labels] == [one.best for one in expected]
    for ends in pairwise([0, 1, 4, len(images)]):
        for row, one in zip(rows[slice(*ends)], expected[slice(*ends)], strict=True):
            for number, probability in enumerate(row):
                assert probability == pytest.approx(one.probabilities[names[number]], abs=1e-5)


def test_the_threshold_is_found_where_there_is_one(
    schema: Any, digits_run: fl.Run, folder: Path
) -> None:
    saved = load_model(RunFolder(digits_run.path))
    assert saved.threshold > 0
    found = config(schema, (folder / "digits-1" / "config.pbtxt").read_bytes())
    assert float(found.parameters["threshold"].string_value) == saved.threshold
    assert f"below {saved.threshold:.4f}" in (folder / "README.md").read_text("utf-8")

    content = (folder / "digits-1" / "1" / "model.onnx").read_bytes()
    none = repository("it", content, card_of(folder) | {"calibration": None}, 8)
    assert not config(schema, none["it/config.pbtxt"]).parameters
    assert b"has no threshold" in none["README.md"]


def test_eight_bits_are_another_model_that_can_lie_beside_the_first(
    command: Command, schema: Any, digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ``test_onnx.py`` tests the quantized network, which takes seconds to make.
    monkeypatch.setattr("firstlight.export.int8.quantized", lambda network, images: network)
    done = command("export", digits_run.path, "--format", "triton", "--int8")
    assert done.code == 0, done.err
    assert "int8 loses" in done.out and "Triton serves it as digits-1-int8" in done.out
    check_loads(schema, Path("digits-1-int8-triton", "digits-1-int8"))


@pytest.mark.parametrize("run", ODD)
def test_a_run_of_any_name_has_a_name_that_can_be_asked_for(
    schema: Any, folder: Path, run: str
) -> None:
    name = model_name(run)
    # Characters that addresses do not escape; a folder name that is not one of the two special
    # ones.
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    content = (folder / "digits-1" / "1" / "model.onnx").read_bytes()
    files = repository(name, content, card_of(folder), 8)
    assert config(schema, files[f"{name}/config.pbtxt"]).name == name
    service = yaml.safe_load(files["kserve.yaml"])["metadata"]["name"]
    # KServe's own rule.
    assert isinstance(service, str) and re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", service)
    assert len(f"{service}-predictor-00001") < 63


def test_runs_whose_names_lose_characters_stay_two_models() -> None:
    runs = ["a b", "a-b", "a/b", "数字", "модель", "model"]
    assert len({model_name(run) for run in runs}) == len(runs)
    assert model_name("数字") == "model-c16ec9"  # according to sha256sum


def test_an_ordinary_name_stays_as_far_as_it_may(folder: Path) -> None:
    assert model_name("Mnist-quick_1.2") == "Mnist-quick_1.2"
    content = (folder / "digits-1" / "1" / "model.onnx").read_bytes()
    files = repository("Mnist-quick_1.2", content, card_of(folder), 8)
    assert yaml.safe_load(files["kserve.yaml"])["metadata"]["name"] == "mnist-quick-1-2"


def test_each_class_has_one_line_whatever_it_is_called(folder: Path) -> None:
    names = [
        "=1+1",
        "dogs\naccuracy 100 %",
        'a "quoted" \\ one',
        "חתול",
        "",
        "a\r\nb",
        "c\u2028d",
        "é",
    ]
    names += ["\udcff", "plain"]
    content = (folder / "digits-1" / "1" / "model.onnx").read_bytes()
    files = repository("it", content, card_of(folder) | {"class_names": names}, 8)
    assert files["it/labels.txt"].decode().splitlines() == [
        "=1+1",
        "dogs accuracy 100 %",
        'a "quoted" \\ one',
        "חתול",
        "",
        "a b",
        "c d",
        "é",
        "?",
        "plain",
    ]
    with pytest.raises(DataError, match=r"labels\.txt.*'a b' is used for more than one class"):
        card = card_of(folder) | {"class_names": [*"12345678", "a b", "a\nb"]}
        repository("it", content, card, 8)


def test_kserve_reads_the_manifest(folder: Path) -> None:
    text = (folder / "kserve.yaml").read_text("utf-8")
    manifest = yaml.safe_load(text)
    assert manifest["apiVersion"] == "serving.kserve.io/v1beta1"
    assert manifest["kind"] == "InferenceService"
    assert manifest["metadata"] == {"name": "digits-1"}
    assert list(manifest["spec"]) == ["predictor"] and list(manifest["spec"]["predictor"]) == [
        "model"
    ]
    model = manifest["spec"]["predictor"]["model"]
    assert set(model) == {"modelFormat", "protocolVersion", "storageUri", "resources"}
    assert model["modelFormat"] == {"name": "triton"}
    assert model["protocolVersion"] == "v2"
    # Bucket names have no capitals, so a placeholder that was not filled in never exists.
    assert re.fullmatch(r"s3://FILL-IN-[A-Z]+/FILL-IN-[A-Z]+", model["storageUri"])
    for resources in model["resources"].values():
        assert {key: type(value) for key, value in resources.items()} == {"cpu": str, "memory": str}


@pytest.mark.parametrize("taken", ["a folder", "a file", "a link", "nothing"])
def test_what_is_there_is_left_alone(command: Command, digits_run: fl.Run, taken: str) -> None:
    at = Path("digits-1-triton")
    match taken:
        case "a folder":
            at.mkdir()
            (at / "mine").touch()
        case "a file":
            at.write_text("mine")
        case "a link":
            at.symlink_to("nowhere")
    before = sorted(Path().rglob("*"))
    out = ["--out", "."] if taken == "nothing" else []
    done = command("export", digits_run.path, "--format", "triton", *out)
    assert done.code == 2
    assert "already exists; name a new or empty folder" in done.err
    assert sorted(Path().rglob("*")) == before


def test_a_disk_that_is_full_keeps_nothing(
    command: Command, digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "labels.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = command("export", digits_run.path, "--format", "triton", "--out", "models")
    assert done.code == 3
    assert "models: cannot be written: No space left on device" in done.err
    assert not list(Path().iterdir())


def test_packages_that_are_missing_are_named(
    command: Command, digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = command("export", digits_run.path, "--format", "triton")
    assert done.code == 2
    assert "--format triton needs onnxscript" in done.err
    assert "onnx onnxscript onnxruntime" in done.err


def test_the_client_of_the_examples_gets_the_answers_of_the_service(
    digits_run: fl.Run,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = fl.load("digits").test.images_NHWC[:3]
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for picture, image in zip(pictures, images, strict=True):
        Image.fromarray(image[..., 0]).save(picture)
    labels = str(folder / "digits-1" / "labels.txt")
    with running([digits_run]) as served:
        address = f"127.0.0.1:{served.port}"
        module("client", CLIENT).main(address, "digits-1", labels, *map(str, pictures))
    rows = [line.rsplit(" ", 2) for line in capsys.readouterr().out.splitlines()]
    expected = digits_run.predict(images)
    assert [row[:2] for row in rows] == [
        [str(picture), one.best] for picture, one in zip(pictures, expected, strict=True)
    ]
    for row, one in zip(rows, expected, strict=True):
        assert float(row[2]) == pytest.approx(max(one.probabilities.values()), abs=1e-5)


def test_the_client_says_in_a_line_what_is_wrong(
    digits_run: fl.Run, folder: Path, tmp_path: Path
) -> None:
    labels, picture = folder / "digits-1" / "labels.txt", tmp_path / "digit.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:40])
    main = module("client", CLIENT).main
    with running([digits_run]) as served:
        address = f"127.0.0.1:{served.port}"
        for words, wrong in (
            ((address, "digits-1", labels, broken), "broken.png: cannot be read as a picture"),
            ((address, "digits-1", labels, tmp_path), "cannot be read as a picture"),
            ((address, "digits-1", tmp_path / "no.txt", picture), "no.txt: cannot be read"),
            ((address, "other", labels, picture), f"{address}, other: "),
            (("http://there", "digits-1", labels, picture), "wanted HOST:PORT of a server"),
        ):
            with pytest.raises(SystemExit, match=wrong):
                main(*map(str, words))
    with pytest.raises(SystemExit, match=f"{address}: no answer"):
        main(address, "digits-1", str(labels), str(picture))


def test_the_client_sends_triton_s_model_the_picture_as_it_is(folder: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(folder / "digits-1" / "1" / "model.onnx")
    (taken,) = session.get_inputs()
    shape = [-1 if isinstance(side, str) else side for side in taken.shape]
    pixels = module("client", CLIENT).pixels
    np.testing.assert_array_equal(pixels(Image.fromarray(rgb), shape), rgb[None])
    assert pixels(Image.fromarray(rgb), [-1, 8, 8, 1]).shape == (1, 8, 8, 1)
