"""Tables of training runs: the tutorial beside Keras, networks, peers, one change at a time."""

import json
import statistics
from typing import Any

from networks import SEEDS
from table_cells import RESULTS, accuracy, row_of
from table_recipes import as_it_is
from tutorial_changes import EPOCHS

SIDES = {
    "pytorch-loop": "the tutorial, plain PyTorch loop with a data loader",
    "firstlight-tutorial": "the tutorial, firstlight",
    "airbench": "airbench's recipe, eager PyTorch, 8 epochs",
    "firstlight-standard": "firstlight, `cifar10-standard`",
    "firstlight-best": "firstlight, `cifar10-best`",
}

TITLES = {"mnist": "MNIST, 5 epochs", "cifar10": "CIFAR-10, 10 epochs"}


def keras_table() -> str:
    """Return accuracy, time and memory of the tutorial in Keras and in firstlight."""
    whole: dict[str, Any] = json.loads((RESULTS / "tutorial_vs_keras.json").read_text())
    lines = [
        "| the classic tutorial | | test accuracy, mean ± sd | wall time, median | peak memory |",
        "|---|---|---|---|---|",
    ]
    for name, of_set in whole["sets"].items():
        summary = of_set["summary"]
        for side, title in (("keras", "Keras"), ("firstlight", "firstlight")):
            row = summary[side]
            lines.append(
                f"| {TITLES[name] if side == 'keras' else ''} | {title} "
                f"| {100 * row['accuracy_mean']:.2f} ± {100 * row['accuracy_sd']:.2f} % "
                f"| {row['fit_seconds_median']:.0f} s | {row['peak_memory_mb_median']:,.0f} MB |"
            )
        lines.append(
            f"| | ratio | | **{summary['fit_seconds_ratio_median']:.2f}** "
            f"| **{summary['peak_memory_mb_ratio_median']:.2f}** |"
        )
    first = next(iter(whole["sets"].values()))
    versions = {k: v for run in first["runs"] for k, v in run["versions"].items()}
    lines += [
        "",
        f"n = {first['summary']['keras']['n']} seeds per side, interleaved; {first['cores']} cores "
        f"of {first['processor']}; {', '.join(f'{k} {v}' for k, v in sorted(versions.items()))}. "
        f"Repeat with `{first['command']}`.",
    ]
    return "\n".join(lines)


def quick_table() -> str:
    """Return the tutorial in Keras beside the short recipes."""
    whole: dict[str, Any] = json.loads((RESULTS / "quick_vs_keras.json").read_text())
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        kinds.setdefault((run["data"], run["side"]), []).append(run)
    lines = [
        "| | runs | test accuracy, mean ± sd | wall time, median "
        "| compared with Keras's fastest run |",
        "|---|---|---|---|---|",
    ]
    for (data, side), runs in kinds.items():
        seconds = statistics.median(run["fit_seconds"] for run in runs)
        keras = min(run["fit_seconds"] for run in kinds[data, "keras"])
        title = f"the tutorial in Keras, {TITLES[data]}" if side == "keras" else f"`{side}`"
        share = "" if side == "keras" else f"**1/{keras / seconds:.0f}**"
        lines.append(
            f"| {title} | {len(runs)} "
            f"| {accuracy(run['test_accuracy_by_epoch'][-1] for run in runs)} "
            f"| {seconds:.1f} s | {share} |"
        )
    loads = [run["load_before"] for run in whole["runs"]]
    lines += [
        "",
        f"Interleaved; {whole['cores']} cores of {whole['processor']}, load average before a run "
        f"{min(loads):.1f} to {max(loads):.1f}. Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def networks_table() -> str:
    """Return the size, work and accuracy of the ready networks."""
    whole: dict[str, Any] = json.loads((RESULTS / "networks.json").read_text())
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        by_recipe.setdefault(run["recipe"], []).append(run)
    lines = [
        "| recipe | parameters | multiply-adds | epochs | test accuracy, mean ± sd | n "
        "| processor seconds, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in by_recipe.items():
        network = whole["networks"][name]
        form = "" if as_it_is(network["recipe"]) else ", an earlier form"
        cells = [
            f"{runs[0]['parameters']:,}",
            f"{network['multiply_adds']:,}",
            f"{network['recipe']['train']['epochs']:g}",
            accuracy(run["test_accuracy_by_epoch"][-1] for run in runs),
            f"{len(runs)}",
            f"{statistics.median(run['processor_seconds'] for run in runs):.0f} s",
        ]
        lines.append(row_of(f"`{name}`{form}", cells))
    lines += [
        "",
        f"One thread of {whole['processor']}. Repeat with `{whole['command']}`.",
    ]
    if waiting := [f"`{name}`" for name in SEEDS if name not in by_recipe]:
        lines += ["", f"Not measured yet: {', '.join(waiting)}."]
    return "\n".join(lines)


CHANGED = {
    "as-it-is": "unchanged",
    "convolution": "one more convolution",
    "batch-norm": "batch norm",
    "dropout": "dropout",
    "all-three": "all three",
}


def changes_table() -> str:
    """Return the effect of each change to the tutorial's networks."""
    whole: dict[str, Any] = json.loads((RESULTS / "tutorial_changes.json").read_text())
    lines = [
        "| | | parameters | multiply-adds | test accuracy, mean ± sd | difference | n "
        "| processor seconds, median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data, title in (("mnist", "MNIST"), ("cifar10", "CIFAR-10")):
        before: dict[int, float] = {}
        for change, words in CHANGED.items():
            name = f"{data}-tutorial-{change}"
            runs = [run for run in whole["runs"] if run["recipe"] == name]
            if not runs:
                continue
            found = {run["seed"]: run["test_accuracy_by_epoch"][-1] for run in runs}
            before = before or found
            cells = [
                words,
                f"{runs[0]['parameters']:,}",
                f"{whole['networks'][name]['multiply_adds']:,}",
                accuracy(found.values()),
                _beside(found, before),
                f"{len(runs)}",
                f"{statistics.median(run['processor_seconds'] for run in runs):.0f} s",
            ]
            lines.append(row_of(f"{title}, {EPOCHS} epochs" if before is found else "", cells))
    lines += [
        "",
        f"One thread of {whole['processor']}, shared with other work: the "
        f"seconds are processor time. Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def _beside(found: dict[int, float], before: dict[int, float]) -> str:
    """Return mean and standard deviation of the gain in accuracy, over the seeds that both have."""
    more = [100 * (found[seed] - before[seed]) for seed in found if seed in before]
    if found is before or len(more) < 2:
        return ""
    mean = round(statistics.mean(more), 2) + 0.0  # avoids a minus sign before zero
    return f"{mean:+.2f} ± {statistics.stdev(more):.2f}".replace("-", "−").replace("+0.00", "0.00")


def peers_table() -> str:
    """Return other ways to train beside firstlight."""
    path = RESULTS / "peers.json"
    whole: dict[str, Any] = json.loads(path.read_text())
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        kinds.setdefault((run["data"], run["side"]), []).append(run)
    lines = [
        "| set | side | runs | test accuracy, mean ± sd | wall time, median | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    sets, sides = list(dict.fromkeys(data for data, _ in kinds)), list(SIDES)
    for data, side in sorted(kinds, key=lambda kind: (sets.index(kind[0]), sides.index(kind[1]))):
        runs = kinds[data, side]
        lines.append(
            f"| {data} | {SIDES[side]} | {len(runs)} "
            f"| {accuracy(run['test_accuracy_by_epoch'][-1] for run in runs)} "
            f"| {statistics.median(run['fit_seconds'] for run in runs):.0f} s "
            f"| {max(run['peak_memory_mb'] for run in runs):,.0f} MB |"
        )
    lines += [
        "",
        f"Run one after another; {whole['cores']} cores of {whole['processor']}. "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def ablations_table() -> str:
    """Return the change in held-out accuracy of each single change, seed by seed."""
    whole: dict[str, Any] = json.loads((RESULTS / "ablations.json").read_text())
    by_recipe: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for run in whole["runs"]:
        changes = by_recipe.setdefault(run["recipe"], {})
        changes.setdefault(run["change"], {})[run["seed"]] = run
    lines = [
        "| recipe | change | held-out accuracy, mean ± sd | difference in points, mean ± sd | n |",
        "|---|---|---|---|---|",
    ]
    for recipe, changes in by_recipe.items():
        plain, measured = changes["unchanged"], whole.get("recipes", {}).get(recipe)
        form = "" if measured and as_it_is(measured) else ", an earlier form"
        for name, runs in changes.items():
            moved = [
                100 * (run["held_out_accuracy"] - plain[seed]["held_out_accuracy"])
                for seed, run in runs.items()
            ]
            spread = f" ± {statistics.stdev(moved):.2f}" if len(moved) > 1 else ""
            difference = "" if name == "unchanged" else f"{statistics.mean(moved):+.2f}{spread}"
            lines.append(
                f"| {f'`{recipe}`{form}' if name == 'unchanged' else ''} | {name} "
                f"| {accuracy(run['held_out_accuracy'] for run in runs.values())} "
                f"| {difference} | {len(runs)} |"
            )
    lines += [
        "",
        "The same seeds with and without each change; a tenth of the training images held out; "
        f"{whole['processor']}. Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)
