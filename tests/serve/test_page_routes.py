"""The page's requests to the service, without a browser."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.kit import striped
from tests.serve.conftest import evaluated_rows
from tests.serve.running import Running, running
from tests.serve.test_service import png

import firstlight as fl
from firstlight.data.dataset import TrainTest
from firstlight.runs.folder import RunFolder


@pytest.fixture(scope="module")
def asked(digits_run: fl.Run, stripes_run: fl.Run) -> Iterator[Running]:
    with running([digits_run, stripes_run]) as service:
        yield service


def test_the_network_is_drawn_as_the_run_s_own(asked: Running, digits_run: fl.Run) -> None:
    with asked.client() as client:
        got = client.get(f"/api/runs/{digits_run.path.name}/network.svg")
        assert client.get("/api/runs/none/network.svg").status_code == 404

    assert got.status_code == 200 and got.headers["content-type"].startswith("image/svg+xml")
    assert got.text == digits_run.recipe.network.diagram((8, 8, 1), 10)


def test_the_pages_of_test_images_hold_each_of_them_once(asked: Running) -> None:
    seen: list[int] = []
    with asked.client() as client:
        for page in range(31):
            got = client.get(f"/api/runs/digits-1/test?page={page}&count=12").json()
            assert got["total"] == 360
            assert len(got["pictures"]) == (12 if page < 30 else 0)
            seen += [picture["index"] for picture in got["pictures"]]
        assert client.get("/api/runs/stripes-1/test").json() == {"total": 0, "pictures": []}
    assert sorted(seen) == list(range(360))


def test_equal_confidences_are_answered_all_or_none(digits_run: fl.Run, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(digits_run.path, tmp_path / "ties-1"))
    head, *rows = folder.read("predictions.csv").splitlines()
    classes = [name.removeprefix("p_") for name in head.split(",")[4:]]
    # At most a thousand in three steps: 0.9, 0.6 and 0.3, all predicted as the class "0".
    lines, steps = [head], (0.9, 0.6, 0.3)
    for at, row in enumerate(rows):
        image, true = row.split(",")[:2]
        sure = steps[at % 3]
        shares = [sure if name == "0" else (1 - sure) / 9 for name in classes]
        lines.append(",".join([image, true, "0", str(sure), *map(str, shares)]))
    folder.write("predictions.csv", "\n".join(lines) + "\n")
    zeros = sum(line.split(",")[1] == "0" for line in lines[1:])
    folder.write_json("metrics.json", {**folder.read_json("metrics.json"), "correct": zeros})

    with running([folder]) as service, service.client() as client:
        curve = client.get("/api/runs/ties-1/results").json()["coverage"]
    right = np.array([line.split(",")[1] == "0" for line in lines[1:]])
    assert [point["threshold"] for point in curve] == pytest.approx(sorted(steps))
    for point, whose in zip(curve, ([0, 1, 2], [0, 1], [0]), strict=True):
        answered = np.isin(np.arange(len(right)) % 3, whose)
        assert point["coverage"] == pytest.approx(answered.mean())
        assert point["accuracy"] == pytest.approx(right[answered].mean())


def test_damaged_answers_are_an_error_that_says_how_to_mend_them_and_names_no_path(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    folder = RunFolder(shutil.copytree(digits_run.path, tmp_path / "damaged-1"))
    folder.write("predictions.csv", "nonsense\n")
    with running([folder]) as service, service.client() as client:
        for route in ("results", "mistakes", "cell?truth=0&said=1"):
            answer = client.get(f"/api/runs/damaged-1/{route}")
            assert answer.status_code == 409
            assert "firstlight evaluate" in answer.json()["error"]
            assert str(tmp_path) not in answer.text


def test_a_cell_holds_the_images_of_that_truth_and_answer_the_surest_first(
    asked: Running, digits_run: fl.Run
) -> None:
    rows = evaluated_rows(digits_run)
    with asked.client() as client:
        got = client.get("/api/runs/digits-1/cell?truth=3&said=3").json()
    wanted = [r for r in rows if (r["true"], r["predicted"]) == ("3", "3")]
    assert got["count"] == len(wanted)
    wanted.sort(key=lambda r: -float(r["confidence"]))
    assert [p["confidence"] for p in got["pictures"]] == pytest.approx(
        [float(r["confidence"]) for r in wanted][:60]
    )


def colour(classes: int) -> TrainTest:
    """Return random colour images, each class with its own shade."""
    rng = np.random.default_rng(0)
    labels = np.arange(8 * classes) % classes
    images = rng.integers(0, 60, (len(labels), 24, 28, 3), dtype=np.uint8)
    images[..., 0] += (labels * (190 // classes))[:, None, None].astype(np.uint8)
    return fl.from_images(images, [f"class {n}" for n in labels], size=24)


@pytest.mark.parametrize(
    ("data", "recipe"),
    [
        ("grey", "digits-tutorial"),
        ("grey", "mnist-quick"),
        ("colour", "cifar10-tutorial"),
        ("colour", "cifar10-quick"),
        ("colour", "cifar10-tutorial-dropout"),
    ],
)
def test_every_kind_of_network_can_be_looked_into_map_by_map(
    tmp_path: Path, data: str, recipe: str
) -> None:
    images = striped(size=16) if data == "grey" else colour(12)
    settings = ["train.epochs=1", "train.batch_size=20"]
    run = fl.train(images, recipe, settings=settings, out=tmp_path / "net-1", quiet=True)
    content = png(images.test.images_NHWC[0]) if data == "grey" else picture(images)
    with running([run]) as service, service.client() as client:
        whole = client.post("/api/inside?whole=true", content=content).content
        length = int.from_bytes(whole[:4], "little")
        head = json.loads(whole[4 : 4 + length])
        numbers = np.frombuffer(whole[4 + length :], "<f4")
        sizes = [int(np.prod(layer["shape"])) for layer in head["layers"]]
        assert len(numbers) == sum(sizes) + int(np.prod(head["cam"]["shape"]))
        assert head["layers"][-1]["shape"][0] == len(images.test.class_names)
        assert all(layer["says"].endswith(".") for layer in head["layers"])

        for index, layer in enumerate(head["layers"]):
            channels, height, width = layer["shape"]
            channel = channels - 1
            question = f"/api/map?layer={index}&channel={channel}"
            found = client.post(question, content=content).json()
            at = layer["offset"] + channel * height * width
            part = numbers[at : at + height * width].reshape(height, width)
            assert found["value"] == pytest.approx(float(part.max()), rel=1e-3, abs=1e-4)
            assert part[found["row"], found["column"]] == pytest.approx(part.max(), abs=1e-4)
            assert np.shape(found["pixels"]) == images.test.image_shape[:2]
            assert (found["filter"] is None) == ("convolution" not in layer["kind"])


def picture(images: TrainTest) -> bytes:
    """Return the first test image as a PNG in colour."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(images.test.images_NHWC[0]).save(stream, "PNG")
    return stream.getvalue()
