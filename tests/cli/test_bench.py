"""``bench``: figures of several seeds, compared with the same runs made one by one."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.kit import Command, striped, tutorial_net, whitened_net

import firstlight as fl
from firstlight.recipe import Recipe
from firstlight.verbs.bench import bench, measure, step_gflop
from firstlight.verbs.plan import Asked, plan_on
from firstlight.verbs.run_data import DataRequest

WORDS = ("digits", "--set", "train.epochs=1")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a bench of one seed. Do not change it."""
    out = tmp_path_factory.mktemp("bench") / "b.json"
    bench(DataRequest(name="digits"), Asked(settings=["train.epochs=1"]), 1, out)
    return out


@pytest.fixture
def begun(measured: Path, command: Command) -> dict[str, Any]:
    """Write ``b.json``, a bench of one seed, in the command's folder; returns its content."""
    shutil.copy(measured, "b.json")
    whole: dict[str, Any] = json.loads(measured.read_text())
    return whole


def test_the_figures_are_those_of_the_runs_made_one_by_one(
    command: Command, begun: dict[str, Any]
) -> None:
    """The second seed continues an interrupted bench."""
    done = command("bench", *WORDS, "--seeds", "2", "--out", "b.json", "--json")

    assert done.code == 0, done.err
    whole = json.loads(done.out)
    assert whole == json.loads(Path("b.json").read_text())
    assert whole["runs"][0] == begun["runs"][0]
    accuracies = []
    for seed in (0, 1):
        run = fl.train("digits", epochs=1, seed=seed, out=f"run-{seed}", quiet=True)
        accuracies.append(run.evaluate().accuracy)
    assert [run["test_accuracy"] for run in whole["runs"]] == accuracies
    assert whole["summary"]["n"] == 2
    assert whole["summary"]["accuracy_mean"] == pytest.approx(sum(accuracies) / 2)
    for run in whole["runs"]:
        assert 0 < run["train_seconds"] <= run["fit_seconds"]
        assert run["matmul_gflops_before"] > 0
        assert 0 < run["training_gflops"] < 10 * run["matmul_gflops_before"]
        assert [row["validation_accuracy"] for row in run["epochs"]] != []


def test_the_work_of_a_step_is_that_counted_by_hand() -> None:
    data = striped(count=60, size=8)
    chosen = Recipe(name="by-hand").with_settings(
        [
            tutorial_net(4, 6, pool_last=False, dense=5),
            *("train.batch_size=10", "train.validation=none"),
        ]
    )

    # Forward: conv 1→4 on 6×6, conv 4→6 on 1×1 after the pool to 3×3, dense 6→5, dense 5→2.
    multiplications = 10 * (9 * 1 * 4 * 36 + 9 * 4 * 6 * 1 + 6 * 5 + 5 * 2)
    # Backward: the same for the weights and the same for the inputs, except for the pixels.
    backward = 2 * multiplications - 10 * (9 * 1 * 4 * 36)
    assert step_gflop(plan_on(data, chosen, "cpu")) == pytest.approx(
        2e-9 * (multiplications + backward), rel=1e-9
    )


def test_the_work_does_not_depend_on_how_a_processor_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = striped(count=200, size=12)
    chosen = Recipe(name="wide").with_settings(
        [
            *whitened_net(96, 96, filters=4),
            *("train.batch_size=100", "train.validation=none"),
        ]
    )
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    wanted = step_gflop(plan_on(data, chosen, "cpu"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert step_gflop(plan_on(data, chosen, "cpu")) == wanted


def test_a_training_of_no_steps_is_no_work() -> None:
    job: Any = SimpleNamespace(
        threads=1, device="cpu", trainer=lambda: SimpleNamespace(steps=0, small_steps=0)
    )
    assert step_gflop(job) == 0.0


def test_steps_with_smaller_images_are_less_work() -> None:
    """Compare with the multiplications of the convolutions at both sizes. Of thirty steps, a fifth
    uses smaller images; if a run planned with sixty was cut to thirty after six, nine do."""
    data = striped(count=60, size=16)
    chosen = Recipe(name="small").with_settings(
        [
            *whitened_net(8, filters=4),
            *("train.batch_size=10", "train.validation=none"),
        ]
    )
    whole, part, cut = (
        step_gflop(plan_on(data, chosen.with_settings(settings), "cpu"))
        for settings in (
            [],
            ["train.small_share=0.2"],
            ["train.small_share=0.2", "train.replanned=[[1.0, 10.0]]"],
        )
    )

    # One image of 16×16 or 12×12 has maps of 15×15 or 11×11, and after the pool of 7×7 or 5×5.
    def multiplications(large: int, half: int) -> int:
        stem = large**2 * (4 * 1 * 4)  # forward only, because it is not trained
        widen = large**2 * (9 * 4 * 8) * 2  # and for its weights
        deepen = half**2 * (9 * 8 * 8) * 3  # and for its inputs
        return stem + widen + deepen

    less = 2e-9 * 10 * (multiplications(15, 7) - multiplications(11, 5))
    assert whole - part == pytest.approx(0.2 * less, rel=1e-9)
    assert whole - cut == pytest.approx(0.3 * less, rel=1e-9)


def test_a_seed_is_told_of_once_it_is_measured(
    command: Command, begun: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {**begun["runs"][0], "seed": 1, "parameters": begun["parameters"]}
    monkeypatch.setattr("firstlight.verbs.bench._apart", lambda *_: dict(figures))
    done = command("bench", *WORDS, "--seeds", "2", "--out", "b.json")
    assert "seed 0: " not in done.out
    assert "seed 1: " in done.out


def test_another_recipes_figures_are_not_mixed_in(command: Command, begun: dict[str, Any]) -> None:
    other = command("bench", "digits", "--set", "train.epochs=2", "--seeds", "1", "--out", "b.json")

    assert other.code == 2
    assert "b.json holds results of another recipe or data set" in other.err
    assert json.loads(Path("b.json").read_text()) == begun


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("digits", "--seeds", "0"), 2, "--seeds must be at least 1, not 0"),
        (
            ("digits", "--out", "no/b.json", "--seeds", "1"),
            2,
            "no/b.json: cannot be written: No such file or directory. Choose another path",
        ),
        (("digits", "--out", "bad.json", "--seeds", "1"), 3, "bad.json: not a bench result"),
        (("digits", "--out", "empty.json", "--seeds", "1"), 3, "it lacks 'recipe'. Choose another"),
        (("digits", "--out", ".", "--seeds", "1"), 3, ".: cannot be read: Is a directory. Choose"),
        (("digitz",), 2, "digitz"),
    ],
)
def test_wrong_requests_are_refused_before_training(
    command: Command, words: tuple[str, ...], code: int, message: str
) -> None:
    Path("bad.json").write_text("{")
    Path("empty.json").write_text("{}")

    done = command("bench", *words)

    assert done.code == code
    assert message in done.err
    assert "seed 0" not in done.out


@pytest.mark.parametrize(
    ("key", "value"), [("device", "cuda"), ("processor", "another"), ("threads", 64)]
)
def test_figures_of_two_machines_do_not_mix(
    command: Command, begun: dict[str, Any], key: str, value: object
) -> None:
    whole = begun
    whole["environment"][key] = value
    Path("b.json").write_text(json.dumps(whole))

    other = command("bench", *WORDS, "--seeds", "2", "--out", "b.json")

    assert other.code == 2
    what = "number of threads" if key == "threads" else key
    assert f"b.json holds results of another {what} ({value}, not " in other.err
    assert json.loads(Path("b.json").read_text()) == whole


def test_a_measurement_from_before_a_choice_existed_is_of_the_same_recipe(
    command: Command, begun: dict[str, Any]
) -> None:
    del begun["recipe"]["train"]["class_weights"]
    Path("b.json").write_text(json.dumps(begun))

    assert command("bench", *WORDS, "--seeds", "1", "--out", "b.json").code == 0


@pytest.mark.usefixtures("warm")
def test_benches_with_one_file_share_the_seeds(
    command: Command, begun: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bench is in the middle of seed 1 when this one begins, and then dies."""
    monkeypatch.setattr(
        "firstlight.verbs.bench._apart",
        lambda seed, request, asked: measure(request, asked, time.time()),
    )
    script = (
        "import sys, pathlib\n"
        "from firstlight.verbs.bench import _claimed\n"
        "with _claimed(pathlib.Path('b.json'), 1) as ours:\n"
        "    print(ours, flush=True)\n"
        "    sys.stdin.readline()\n"
        "    import os; os._exit(9)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    told = []

    def hears(figures: dict[str, Any]) -> None:
        told.append(figures["seed"])
        if other.poll() is None:
            other.communicate("\n")

    asked = Asked(settings=["train.epochs=1"])
    whole, path = bench(DataRequest(name="digits"), asked, 3, Path("b.json"), told=hears)
    assert told == [2, 1]  # seed 1 is left to the other bench until it is dead
    assert [run["seed"] for run in whole["runs"]] == [0, 1, 2]
    assert whole["runs"][0] == begun["runs"][0]
    assert json.loads(path.read_text()) == whole and whole["summary"]["n"] == 3
    assert not list(Path().glob(".b.json.seed*"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_bench_takes_its_run_with_it(tmp_path: Path) -> None:
    words = ("bench", "digits", "--set", "train.epochs=100000", "--out", str(tmp_path / "b.json"))
    bench = subprocess.Popen([sys.executable, "-m", "firstlight", *words])
    try:
        mine = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
        if not mine.exists():
            pytest.skip("this system does not tell a process's children")
        while "spawn_main" not in "".join(children := _commands(mine)):
            assert bench.poll() is None
        run = next(c for c in children if "spawn_main" in c).split("\0")[0]
    finally:
        bench.kill()
        bench.wait()
    while Path(f"/proc/{run}").exists():  # if this hangs, a process was left behind
        os.sched_yield()


def _commands(children: Path) -> list[str]:
    """Return number and command line of each child."""
    found = []
    for number in children.read_text().split():
        try:
            found.append(f"{number}\0" + Path(f"/proc/{number}/cmdline").read_text())
        except OSError:
            continue  # it has ended
    return found
