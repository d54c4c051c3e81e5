"""Train one recipe with several seeds and record every run's figures."""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from firstlight.devices import choose_device, computes_in_bfloat16, repeatable
from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.files import unwritable, write_asked
from firstlight.layers.own_code import matched, own_code
from firstlight.memory import peak
from firstlight.models.convolution import direct
from firstlight.plain import read_json, write_json
from firstlight.progress import Silent
from firstlight.recipe import Recipe, Setting, recipe_of
from firstlight.runs import record
from firstlight.threads import usable_threads
from firstlight.verbs.claims import alone, claimed
from firstlight.verbs.evaluate import evaluate
from firstlight.verbs.fit import fit
from firstlight.verbs.job import Job
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.run_data import DataRequest

Figures = dict[str, Any]
SAME_MACHINE = ("firstlight", "torch", "processor", "device", "accelerator", "threads", "waiting")
"""Facts that must agree for runs in the same file."""
WORDS = {"firstlight": "version of firstlight", "torch": "version of torch"}
WORDS |= {"threads": "number of threads", "waiting": "thread wait policy"}
LOOK = 1.0
"""Seconds between two checks of other benches' progress."""
REPLAYS = ("replayed_steps", "cold_start_seconds")
"""Figures of a run on a device that records passes; the clock starts after the cold start."""
GPU_PRODUCT = 8192
"""Side of the matrices whose product keeps a GPU busy; a CPU's caches hold 1,024."""
FIGURES = {"seed", "test_accuracy", "fit_seconds", "train_seconds", "peak_memory_mb"}
"""Figures that each run must have."""


def bench(
    request: DataRequest,
    asked: Asked,
    seeds: int,
    out: Path | None = None,
    *,
    told: Callable[[Figures], None] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Return the figures of seeds 0, 1, …, and the file that contains them.

    Each run is a separate process, and reads the test set once, after training.

    ``out`` (JSON), by default ``bench-RECIPE.json``, is rewritten after each run, so that a bench
    can be interrupted. Seeds of the same recipe already in it are not run again. Several benches
    with the same ``out``, on a disk that supports locks, share the seeds, and each returns all
    figures. ``told`` is called for each run of this bench. Raises ``UserError`` if ``out`` belongs
    to another recipe or is not writable, and ``DataError`` if the storage is full or ``out`` is
    some other file.
    """
    job = plan(request, asked)  # finds missing or wrong input before the first run
    out = out or Path(f"bench-{job.recipe.name}.json")
    environment = record.environment(job.device, job.threads)

    def begun() -> dict[str, Any]:
        return _begun(out, request.name, job.recipe, environment)

    begun()  # first report a damaged file
    with _alone(out):
        write_asked(out, write_json(begun(), indent=2) + "\n")
    while missing := _missing(begun(), seeds):
        for seed in missing:
            with _claimed(out, seed) as ours:
                if not ours or seed not in _missing(begun(), seeds):
                    continue
                setting = Setting(f"train.seed={seed}", "bench", asked=False)
                figures = _apart(seed, request, replace(asked, settings=[*asked.settings, setting]))
                with _alone(out):
                    write_asked(out, write_json(_with(begun(), figures), indent=2) + "\n")
            if told is not None:
                told(figures)
            break
        else:
            time.sleep(LOOK)  # other benches run the rest, and one may die
    return begun(), out


def _missing(whole: dict[str, Any], seeds: int) -> list[int]:
    done = {run["seed"] for run in whole["runs"]}
    return [seed for seed in range(seeds) if seed not in done]


def _with(whole: dict[str, Any], figures: Figures) -> dict[str, Any]:
    """Return the content of ``out`` with one more run."""
    run = {key: value for key, value in figures.items() if key != "parameters"}
    runs = sorted([*whole["runs"], run], key=lambda one: int(one["seed"]))
    whole = {**whole, "runs": runs, "parameters": figures["parameters"]}
    return {**whole, "summary": summarise(runs)}


def _claimed(out: Path, seed: int) -> AbstractContextManager[bool]:
    """Yields whether this process may run a seed."""
    return claimed(out.with_name(f".{out.name}.seed-{seed}.lock"), out)


def _alone(out: Path) -> AbstractContextManager[None]:
    """Inside the block, no other bench changes ``out``."""
    return alone(out.with_name(f".{out.name}.lock"), out)


def _apart(seed: int, request: DataRequest, asked: Asked) -> Figures:
    """Run ``measure`` in a separate process, which ends together with this one."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_child,
        # A copy of the request has no loaded data; the child loads it itself.
        args=(sender, replace(request), _sendable(asked), time.time()),
        daemon=True,
    )
    kept = "the finished seeds are kept. Run the same command to continue from there"
    process.start()
    sender.close()  # only the child's end stays open, so that its death gives an end of file
    try:
        outcome = receiver.recv()
    except EOFError as error:
        raise UserError(
            f"the run with seed {seed} died, perhaps because it ran out of memory; {kept}"
        ) from error
    except KeyboardInterrupt as error:
        raise RunInterruptedError(f"stopped in seed {seed}; {kept}") from error
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(outcome, UserError):
        raise outcome
    figures: Figures = outcome
    return figures


def _sendable(asked: Asked) -> Asked:
    """Remove the function of the user's own code; the other process loads it again from its
    file."""
    code = asked.code
    if code is None:
        return asked
    return replace(asked, parts={**asked.parts, "network": replace(code, make=None)})


def _child(sender: Connection, request: DataRequest, asked: Asked, called: float) -> None:
    """The child process: measure, and send the figures or the user's error."""
    parent = parent_process()
    assert parent is not None, "started by _apart"
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    try:
        if (code := asked.code) is not None:
            again = matched(code, own_code(code.again), Path("bench"))
            asked = replace(asked, parts={**asked.parts, "network": again})
        sender.send(measure(request, asked, called))
    except RunInterruptedError:
        pass  # Ctrl-C reached both processes, and the parent handles it
    except UserError as error:
        sender.send(error)


def _end_with(parent: int) -> None:
    wait([parent])
    os._exit(1)


def measure(request: DataRequest, asked: Asked, called: float) -> Figures:
    """Return one run's figures, in a process that was requested at ``called`` (Unix time)."""
    start_seconds, load = time.time() - called, _load()
    device = choose_device(asked.device)
    with repeatable(usable_threads(), device):
        peaks = {"matmul_gflops_before": matmul_gflops(device, torch.float32)}
        if computes_in_bfloat16(device):
            peaks["matmul_bf16_gflops_before"] = matmul_gflops(device, torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        job = plan(request, asked)
        if device == "cuda":
            torch.cuda.empty_cache()  # of the products above
            torch.cuda.reset_peak_memory_stats()
        run = fit(job, Silent(), out=Path(folder) / "run")
        fit_seconds = time.perf_counter() - started
        on_gpu = {"device_memory_mb": device_peak()} if device == "cuda" else {}
        memory, summary = peak(), run.read_json("summary.json")
        metrics = evaluate(run, device=device, data=job.data)
        epochs = record.read_epochs(run)
    work = step_gflop(job) * summary["steps"]
    return {
        "seed": job.recipe.train.seed,
        "parameters": summary["parameters"],
        "test_accuracy": metrics.accuracy,
        "log_loss": metrics.log_loss,
        "start_seconds": start_seconds,
        "fit_seconds": fit_seconds,
        "train_seconds": summary["train_seconds"],
        "nothing_learnt": summary["nothing_learnt"],
        "training_gflops": work / summary["train_seconds"],
        "peak_memory_mb": memory,
        **on_gpu,
        **{key: summary[key] for key in REPLAYS if key in summary},
        "load_before": load,
        **peaks,
        "epochs": [{k: row[k] for k in ("train_seconds", "validation_accuracy")} for row in epochs],
    }


def _load() -> float | None:
    """Return the load average of the last minute; None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return n, mean and standard deviation of the accuracy, and medians of the rest."""
    accuracies = [run["test_accuracy"] for run in runs]
    return {
        "n": len(runs),
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_sd": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "fit_seconds_median": statistics.median(run["fit_seconds"] for run in runs),
        "peak_memory_mb_max": max(
            (run["peak_memory_mb"] for run in runs if run["peak_memory_mb"] is not None),
            default=None,
        ),
    }


def device_peak() -> float:
    """Return the most memory that PyTorch held on the GPU since the last reset, in megabytes."""
    return torch.cuda.max_memory_reserved() / 1e6


def matmul_gflops(device: str, dtype: torch.dtype, turns: int = 10) -> float:
    """Return the best of several matrix products on the device in GFLOP/s: its current speed."""
    size = 1024 if device == "cpu" else GPU_PRODUCT
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(turns):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = max(best, 2e-9 * size**3 / (time.perf_counter() - started))
    return best


def step_gflop(job: Job) -> float:
    """Return the work of one training step, in units of 10⁹ additions and multiplications.

    It counts convolutions, by the direct algorithm, and matrix products: forward, backward and in
    the optimizer. If the first steps use smaller images, it is the mean over all steps; 0 without
    steps.
    """
    from torch.utils.flop_counter import FlopCounterMode

    total = 0.0
    for small in (False, True):
        with repeatable(job.threads, job.device):
            trainer = job.trainer()
            if not trainer.steps:
                return 0.0
            trainer.recorder = None  # a replay hides its work, and recording does it more than once
            share = trainer.small_steps / trainer.steps
            part = share if small else 1 - share
            if part > 0:
                trainer.small_steps = trainer.steps if small else 0
                with direct(), FlopCounterMode(display=False) as counter:
                    next(trainer.run())
                total += part * counter.get_total_flops()
    return 1e-9 * total


def _begun(out: Path, data: str, recipe: Recipe, environment: dict[str, Any]) -> dict[str, Any]:
    """Return runs of the same recipe on the same machine from ``out``, or an empty start."""
    choices = recipe.with_settings(["train.seed=0"]).to_table()
    if not _is_there(out):
        return {"data": data, "recipe": choices, "environment": environment, "runs": []}
    try:
        found: dict[str, Any] = read_json(out.read_text(encoding="utf-8"))
        measured = recipe_of(found["recipe"], source="recipe")
        same = found["data"] == data and measured.to_table() == choices
        theirs = {key: found["environment"].get(key) for key in SAME_MACHINE}
        for run in found["runs"]:
            if not set(run) >= FIGURES:
                raise ValueError(f"a run lacks {', '.join(sorted(FIGURES - set(run)))}")
    except OSError as error:
        raise DataError(f"{out}: cannot be read: {error.strerror}. Choose another --out") from error
    except (ValueError, LookupError, TypeError, AttributeError, UserError) as error:
        why = f"it lacks {error}" if isinstance(error, LookupError) else str(error)
        raise DataError(f"{out}: not a bench result: {why}. Choose another --out") from error
    if not same:
        raise UserError(f"{out} holds results of another recipe or data set. Choose another --out")
    other = [key for key in SAME_MACHINE if theirs[key] != environment[key]]
    if other:
        what = WORDS.get(other[0], other[0])
        raise UserError(
            f"{out} holds results of another {what} ({theirs[other[0]]}, not "
            f"{environment[other[0]]}). Different ones are not mixed: choose another --out"
        )
    return found


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unwritable(path, error) from error
    return True
