"""The queue of trainings: what survives, what is refused, and what a training leaves."""

import errno
import json
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.studio.conftest import Running, running, until

import firstlight as fl
from firstlight.errors import UserError
from firstlight.locks import held
from firstlight.progress import Log
from firstlight.serve.access import Access
from firstlight.studio import worker
from firstlight.studio.training import WATCHER, Shown, main
from firstlight.studio.trainings import Queue, Training, Wanted
from firstlight.studio.workshop import Workshop
from firstlight.training.position import EpochRecord
from firstlight.verbs.recipes import find_recipe

pytestmark = pytest.mark.usefixtures("warm")

RECIPE = find_recipe("digits-tutorial").with_settings(["train.epochs=2"])
SHORT = RECIPE.to_toml()
BROKEN = SHORT.replace("[optimizer]", "[optimizer]\nbeta = 3")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(Workshop(tmp_path))


def wanted(run: str, **more: object) -> Wanted:
    values: dict[str, object] = {"run": run, "data": "digits", "recipe": SHORT, **more}
    return Wanted(**values)  # type: ignore[arg-type]


def states(queue: Queue) -> dict[str, str]:
    return {one.wanted.run: one.state for one in queue.all()}


class InThisProcess:
    """In place of a process, which takes seconds to start."""

    def __init__(self, module: str, folder: str, workshop: Workshop, **_: object) -> None:
        assert module == "firstlight.studio.training"
        main(Training(workshop, Path(folder)))

    def wait(self) -> int:
        return 0


def test_what_waits_is_trained_in_order_and_a_failure_does_not_stop_the_others(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "started", InThisProcess)
    queue.add(wanted("a"))
    queue.add(wanted("b", recipe=BROKEN))
    queue.add(wanted("c", budget=4.0, recipe=""))
    queue.add(wanted("d")).stop()
    worker.main(Workshop(tmp_path))
    assert states(queue) == {"a": "finished", "b": "failed", "c": "finished", "d": "stopped"}
    a, b, *_ = queue.all()
    assert "beta" in b.ended["message"]
    assert not (tmp_path / "runs" / "b").exists()
    # The bits are those of the same recipe without a studio, and it is evaluated.
    alone = fl.train("digits", RECIPE, out=tmp_path / "alone", quiet=True)
    assert (a.run.path / "model.safetensors").read_bytes() == (
        Path(alone.path) / "model.safetensors"
    ).read_bytes()
    answers = json.loads((a.run.path / "metrics.json").read_text())
    assert answers["accuracy"] == alone.evaluate().accuracy
    # However short its epochs are, it tells how far it is.
    assert (a.progress["epoch"], a.progress["epochs"], a.progress["share"]) == (2, 2, 1.0)
    assert 0 < a.progress["loss"] < 3
    # The last answers to ten held-out images are one for each class.
    assert sorted(a.forming["truth"]) == list(range(10))
    assert [look["epoch"] for look in a.forming["looks"]] == [0, 1, 2]
    assert len(list(a.folder.glob("image-*.png"))) == 10


def test_a_stopped_training_goes_on_to_the_bits_of_one_that_never_stopped(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = queue.add(wanted("a"))
    monkeypatch.chdir(tmp_path)

    def stopped_then(shown: Shown, record: EpochRecord) -> None:
        """The watcher sees the wish before the next step begins."""
        Log.epoch(shown, record)
        training.stop()
        for one in threading.enumerate():
            if one.name == WATCHER:
                one.join()

    with monkeypatch.context() as patch:
        patch.setattr(Shown, "epoch", stopped_then)
        main(training)
    assert training.state == "stopped"
    assert not training.run.finished
    training.resume()
    assert training.state == "waiting"
    main(training)
    assert training.state == "finished"
    alone = fl.train("digits", RECIPE, out=tmp_path / "alone", quiet=True)
    weights = [Path(at) / "model.safetensors" for at in (training.run.path, alone.path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("lock", [".lock", ".started"])
def test_a_training_whose_process_was_killed_is_not_lost(queue: Queue, lock: str) -> None:
    training = queue.add(wanted("a"))
    training.note("progress.json", {"stage": "training"})
    assert training.state == "stopped"  # it had begun, and nobody has its lock
    assert "ended from outside" in training.message
    training.resume()
    assert queue.next() is not None
    with held(training.folder / lock):
        assert training.state == "training"
        assert queue.next() is None
        with pytest.raises(UserError, match="Stop it first"):
            training.remove()
        with pytest.raises(UserError, match="cannot be resumed"):
            training.resume()


def test_a_process_that_dies_is_told(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that the system kills for its memory."""
    training = queue.add(wanted("a"))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    worker.main(Workshop(tmp_path))
    assert training.state == "failed"
    assert "exit code 1" in training.ended["message"]


def test_two_trainings_cannot_have_one_name(queue: Queue, tmp_path: Path) -> None:
    queue.add(wanted("a"))
    with pytest.raises(UserError, match="already"):
        queue.add(wanted("a"))
    (tmp_path / "runs" / "b").mkdir(parents=True)
    with pytest.raises(UserError, match="already"):
        queue.add(wanted("b"))


@pytest.mark.parametrize(
    "values",
    [
        {"run": "../a"},
        {"run": "a b"},
        {"run": "-a"},
        {"run": 3},
        {"data": "../../etc"},
        {"data": "/etc"},
        {"data": "https://example.com/a.zip"},
        {"data": "hf:a/b"},
        {"data": ""},
        {"data": None},
        {"budget": -1},
        {"budget": "long"},
        {"budget": True},
        {"start": "../other"},
        {"start": "hf:a/b"},
        {"recipe": 3},
        {"recipe": BROKEN},
        {"colour": "red"},
    ],
)
def test_what_is_not_inside_the_folder_or_not_a_training_is_refused(
    studio: Running, values: dict[str, object]
) -> None:
    with studio.client() as client:
        found = client.post("/api/studio/trainings", json={"data": "digits", **values})
    assert found.status_code in (404, 422), found.text
    assert len(found.json()["error"]) > 10
    assert studio.queue.all() == []


def test_others_may_look_but_not_train_unless_they_are_allowed(tmp_path: Path) -> None:
    def answers(access: Access, token: str) -> list[int]:
        with (
            running(tmp_path, access) as found,
            found.client(Authorization=f"Bearer {token}") as client,
        ):
            return [
                client.get("/api/studio/trainings").status_code,
                client.get("/api/runs").status_code,
                client.post("/api/studio/trainings", json={"data": "nothing"}).status_code,
                client.post("/api/studio/written", json={"data": "mnist", "toml": ""}).status_code,
            ]

    access = Access(token="the-first-person", look_only="the-second-person")
    assert answers(access, "the-first-person") == [200, 200, 404, 200]
    assert answers(access, "the-second-person") == [200, 200, 403, 200]
    assert answers(access, "somebody-else") == [401, 401, 401, 401]
    allowed = replace(access, all_may_change=True)
    assert answers(allowed, "the-second-person") == [200, 200, 404, 200]


def test_a_page_of_another_site_cannot_train(studio: Running) -> None:
    with studio.client(Origin="https://evil.example") as client:
        assert client.post("/api/studio/trainings", json={"data": "digits"}).status_code == 403
    assert studio.queue.all() == []


def test_the_training_goes_on_when_the_server_is_gone(tmp_path: Path) -> None:
    with running(tmp_path) as studio, studio.client() as client:
        added = client.post("/api/studio/trainings", json={"data": "digits", "recipe": SHORT})
        assert added.json() == {"number": "0001", "run": "digits-1"}
    until(lambda: studio.queue.all()[0].state == "finished")
    with running(tmp_path) as studio, studio.client() as client:
        (training,) = client.get("/api/studio/trainings").json()
        assert (training["run"], training["state"]) == ("digits-1", "finished")
        runs = client.get("/api/runs").json()
        assert runs[0]["name"] == "digits-1"
        assert runs[0]["evaluated"]
        log = client.get("/api/studio/trainings/0001/log").json()["text"]
        assert "epoch 2/2" in log
        image = client.get("/api/studio/trainings/0001/images/9.png")
        assert image.content.startswith(b"\x89PNG")
        assert client.post("/api/studio/trainings/0001/remove").status_code == 200
        assert client.get("/api/studio/trainings").json() == []
        assert client.post("/api/studio/trainings/0001/stop").status_code == 404
    assert (tmp_path / "runs" / "digits-1" / "summary.json").is_file()


def test_a_full_disk_beside_the_run_does_not_end_the_training(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = queue.add(wanted("a"))
    monkeypatch.chdir(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Training, "note", full)
    main(training)
    assert training.state == "finished"
    assert training.run.finished


def test_a_worker_that_fails_is_not_started_again_at_once(
    studio: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[int]()

    class Failed:
        def __init__(self, *_: object) -> None:
            started.append(1)

        def poll(self) -> int:
            return 1

    monkeypatch.setattr("firstlight.studio.studio.start_worker", Failed)
    with studio.client() as client:
        client.post("/api/studio/trainings", json={"data": "digits"})
        for _ in range(5):
            client.get("/api/studio/trainings")
    assert len(started) == 1


@pytest.mark.parametrize(
    ("what", "refuses"),
    [
        ("stop", "firstlight.studio.trainings.write_whole"),
        ("resume", "pathlib.Path.unlink"),
        ("remove", "shutil.rmtree"),
    ],
)
def test_a_disk_that_refuses_is_told(
    studio: Running, monkeypatch: pytest.MonkeyPatch, what: str, refuses: str
) -> None:
    training = studio.queue.add(wanted("a"))
    training.end("stopped")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with studio.client() as client, monkeypatch.context() as patch:
        patch.setattr(refuses, refused)
        found = client.post(f"/api/studio/trainings/{training.number}/{what}")
    assert found.status_code == 409
    assert "cannot be changed: Permission denied" in found.json()["error"]


def test_a_run_that_lost_its_recipe_is_not_overwritten(queue: Queue, tmp_path: Path) -> None:
    training = queue.add(wanted("a"))
    training.run.path.mkdir(parents=True)
    (training.run.path / "epochs.csv").write_text("epoch\n")
    main(training)
    assert training.state == "failed"
    assert "Remove that folder and try again" in training.message
    assert (training.run.path / "epochs.csv").read_text() == "epoch\n"
