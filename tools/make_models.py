"""Train the models in the box anew: make models, or python tools/make_models.py NAME...

Each is a run of the ``recipe.toml`` in its folder, its weights stored as float16, and measured as
it is stored. A run that was stopped goes on where it was; a finished one in ``runs/`` is used as it
is, so remove it to begin from nothing. In the end it is said whether the weights are those there
were, to the bit, or which figures moved.
"""

import argparse
import csv
import hashlib
import json
import shutil
from pathlib import Path

from firstlight.files import write_whole
from firstlight.progress import choose_display
from firstlight.recipe import load_recipe
from firstlight.runs.box import BOX, MEASURED, SEEDS, boxed_names
from firstlight.runs.checkpoint import MODEL_FILE, load_model, save_model
from firstlight.runs.folder import RunFolder
from firstlight.verbs.card import card
from firstlight.verbs.evaluate import evaluate
from firstlight.verbs.fit import fit, resume
from firstlight.verbs.plan import Asked, plan
from firstlight.verbs.robustness import robustness
from firstlight.verbs.run_data import DataRequest

ROOT = Path(__file__).resolve().parent.parent
MISTAKES = ROOT / "tests" / "mistakes_in_the_box.json"
KEPT = ("recipe.toml", "environment.json", "data.json", "epochs.csv", "summary.json")


def trained(name: str) -> RunFolder:
    """The run, trained where that is not done yet."""
    path, recipe = ROOT / "runs" / f"box-{name}", load_recipe(BOX / name / "recipe.toml")
    if not (path / "recipe.toml").is_file():
        job = plan(DataRequest(name=name), Asked(recipe=recipe))
        return fit(job, choose_display(quiet=False), out=path)
    folder = RunFolder(path)
    if folder.recipe() != recipe:
        raise SystemExit(f"{path} is of another recipe; remove it")
    return folder if folder.finished else resume(path, choose_display(quiet=False))


def put(name: str) -> None:
    """Train, store, measure what was stored, and say what is different from before."""
    run, box = trained(name), RunFolder(BOX / name)
    before = facts(box)
    box.path.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copyfile(run.path / file, box.path / file)
    save(run, box, "")
    box.write_json(MEASURED, evaluate(box).to_json())
    note_mistakes(name, box)
    for file in ("metrics.json", "predictions.csv"):  # a megabyte; a copy's own evaluate makes them
        (box.path / file).unlink()
    robustness(box)
    seeds = json.loads((ROOT / results(name)).read_text(encoding="utf-8"))["runs"]
    box.write_json(SEEDS, {"test_accuracies": [one["test_accuracy"] for one in seeds]})
    text = card(box)
    save(run, box, text)
    box.write("README.md", text)
    print(f"{name}: {difference(before, facts(box))}")


def note_mistakes(name: str, box: RunFolder) -> None:
    """Keep the numbers of the test images that it answers wrong, for a test of some of them."""
    with (box.path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [at for at, row in enumerate(rows) if row["true"] != row["predicted"]]
    known = json.loads(MISTAKES.read_text(encoding="utf-8")) if MISTAKES.is_file() else {}
    write_whole(MISTAKES, json.dumps({**known, name: wrong}) + "\n")


def save(run: RunFolder, box: RunFolder, text: str) -> None:
    """The weights as float16, with the card beside them."""
    save_model(box, load_model(run), half=True, card=text)


def results(name: str) -> str:
    """What ``firstlight bench`` gave for the recipe with several seeds, from the project's folder
    on."""
    return f"benchmarks/results/box-{name}-cpu.json"


def facts(box: RunFolder) -> dict[str, str | float]:
    """What can differ: the weights, and what they reach."""
    if not (box.path / MEASURED).is_file():
        return {}
    weights = hashlib.sha256()
    for tensor in load_model(box).model.state_dict().values():
        weights.update(tensor.numpy().tobytes())
    metrics = box.read_json(MEASURED)
    figures = {k: metrics[k] for k in ("accuracy", "log_loss", "expected_calibration_error")}
    return {"weights": weights.hexdigest()[:16], **figures}


def difference(before: dict[str, str | float], after: dict[str, str | float]) -> str:
    """In words."""
    if not before:
        return f"made, {100 * float(after['accuracy']):.2f} % right"
    if before["weights"] == after["weights"]:
        return "the same weights to the bit"
    moved = [f"{k} from {before[k]:.6g} to {after[k]:.6g}" for k in after if k != "weights"]
    return f"other weights ({MODEL_FILE}); moved: {', '.join(moved)}"


def main() -> None:
    boxed = boxed_names()
    parser = argparse.ArgumentParser(description="Train the models in the box anew.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(boxed)}")
    names: list[str] = parser.parse_args().names or boxed
    if wrong := [name for name in names if name not in boxed]:
        raise SystemExit(f"there is no model {wrong[0]!r} to make; there are {', '.join(boxed)}")
    for name in names:
        put(name)


if __name__ == "__main__":
    main()
