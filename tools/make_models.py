"""Retrain the models in the box: make models, or python tools/make_models.py NAME...

Each is a run of the ``recipe.toml`` in its folder. Its weights are stored as float16, and it is
measured as stored. A stopped run is resumed; a finished one in ``runs/`` is reused, so remove it to
start from scratch. At the end, the script says whether the weights equal the old ones to the bit,
or which figures changed.
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
    """Return the run, trained if necessary."""
    path, recipe = ROOT / "runs" / f"box-{name}", load_recipe(BOX / name / "recipe.toml")
    if not (path / "recipe.toml").is_file():
        job = plan(DataRequest(name=name), Asked(recipe=recipe))
        return fit(job, choose_display(quiet=False), out=path)
    folder = RunFolder(path)
    if folder.recipe() != recipe:
        raise SystemExit(f"{path} is of another recipe; remove it")
    return folder if folder.finished else resume(path, choose_display(quiet=False))


def put(name: str) -> None:
    """Train, store, measure the stored model, and report differences from before."""
    run, box = trained(name), RunFolder(BOX / name)
    before = facts(box)
    box.path.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copyfile(run.path / file, box.path / file)
    save(run, box, "")
    box.write_json(MEASURED, evaluate(box).to_json())
    note_mistakes(name, box)
    for file in ("metrics.json", "predictions.csv"):  # a megabyte; evaluate makes them anew
        (box.path / file).unlink()
    robustness(box)
    seeds = json.loads((ROOT / results(name)).read_text(encoding="utf-8"))["runs"]
    box.write_json(SEEDS, {"test_accuracies": [one["test_accuracy"] for one in seeds]})
    text = card(box)
    save(run, box, text)
    box.write("README.md", text)
    print(f"{name}: {difference(before, facts(box))}")


def note_mistakes(name: str, box: RunFolder) -> None:
    """Save the indices of the wrongly answered test images, for a test of some of them."""
    with (box.path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [at for at, row in enumerate(rows) if row["true"] != row["predicted"]]
    known = json.loads(MISTAKES.read_text(encoding="utf-8")) if MISTAKES.is_file() else {}
    write_whole(MISTAKES, json.dumps({**known, name: wrong}) + "\n")


def save(run: RunFolder, box: RunFolder, text: str) -> None:
    """Save the weights as float16, and the card beside them."""
    save_model(box, load_model(run), half=True, card=text)


def results(name: str) -> str:
    """Return the path, relative to the project, of the recipe's ``firstlight bench`` results with
    several seeds."""
    return f"benchmarks/results/box-{name}-cpu.json"


def facts(box: RunFolder) -> dict[str, str | float]:
    """Return what may differ: the weights and the figures."""
    if not (box.path / MEASURED).is_file():
        return {}
    weights = hashlib.sha256()
    for tensor in load_model(box).model.state_dict().values():
        weights.update(tensor.numpy().tobytes())
    metrics = box.read_json(MEASURED)
    figures = {k: metrics[k] for k in ("accuracy", "log_loss", "expected_calibration_error")}
    return {"weights": weights.hexdigest()[:16], **figures}


def difference(before: dict[str, str | float], after: dict[str, str | float]) -> str:
    """Describe the differences."""
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
