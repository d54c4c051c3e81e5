"""Tables of pictures: small sets, folders decoded, images of no class."""

import json
import statistics
from typing import Any

from table_cells import RESULTS, SCORES, accuracy, by_score, row_of, three_places

SMALL_SETS = {
    "digits": "scikit-learn's digits, 1,437 training images",
    "cifar10-100-a-class": "CIFAR-10, 100 per class",
    "mnist-uneven": "MNIST, 2,000 down to 20 per class",
}

FOLDERS = {
    "cifar10-png": "CIFAR-10 as 60,000 PNG files",
    "mosaics": "210,000 JPEG files of 128 × 128 pixels",
}

STEPS = {
    "first start": "first start: decode, find duplicates, split",
    "second start": "second start, from the cache",
    "check": "`data check`",
    "train": "start, and {steps:,} steps of {batch} images",
}


def small_sets_table() -> str:
    """Return the comparison on three small sets: firstlight, scikit-learn, Keras in the same
    time."""
    whole: dict[str, Any] = json.loads((RESULTS / "small_sets.json").read_text())
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        kinds.setdefault((run["data"], run["side"]), []).append(run)
    lines = [
        "| set | side | runs | test accuracy, mean ± sd | seconds, median |",
        "|---|---|---|---|---|",
    ]
    for (data, side), runs in kinds.items():
        named = f"{side}, {runs[0]['chosen']}" if side == "scikit-learn" else side
        lines.append(
            f"| {SMALL_SETS[data] if side == 'firstlight' else ''} | {named} | {len(runs)} "
            f"| {accuracy(run['test_accuracy'] for run in runs)} "
            f"| {statistics.median(run['fit_seconds'] for run in runs):.0f} |"
        )
    lines += [
        "",
        f"Run one after another; {whole['cores']} cores of {whole['processor']}. "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def sharded_table() -> str:
    """Return the comparison of loaders on a million images in shards."""
    whole: dict[str, Any] = json.loads((RESULTS / "sharded.json").read_text())
    runs = whole["runs"]
    (index,) = (run for run in runs if run["what"] == "index")
    (train,) = (run for run in runs if run["what"] == "train")
    lines = [
        "| a million images of 64 × 64 pixels | processor seconds | peak memory |",
        "|---|---|---|",
        f"| index, built once | {index['processor_seconds']:.0f} "
        f"| {index['peak_memory_mb']:,.0f} MB |",
        f"| start, {train['steps']} steps of {train['batch']} images, all held-out images "
        f"and all {train['test_images']:,} test images | {train['processor_seconds']:.0f} "
        f"| {train['peak_memory_mb']:,.0f} MB |",
        "",
        "| loader | images/s | images per processor second | images/s into a small network "
        "| images per processor second |",
        "|---|---|---|---|---|",
    ]
    for loader in dict.fromkeys(run["loader"] for run in runs if "loader" in run):
        cells = []
        for what in ("load", "load and train"):
            of_kind = [r for r in runs if r["what"] == what and r.get("loader") == loader]
            cells += [
                f"{statistics.median(run[figure] for run in of_kind):,.0f}"
                for figure in ("images_per_second", "images_per_processor_second")
            ]
        lines.append(f"| {loader} | {' | '.join(cells)} |")
    repeats = 1 + max(run.get("repeat", 0) for run in runs)
    versions = ", ".join(f"{name} {one}" for name, one in whole["versions"].items())
    lines += [
        "",
        f"Medians of {repeats} runs; {whole['threads']} cores of {whole['processor']}, at times "
        f"shared with other work; {versions}. Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def decoding_table() -> str:
    """Return the figures of decoding folders of pictures: seconds, files per second, memory."""
    whole: dict[str, Any] = json.loads((RESULTS / "decoding.json").read_text())
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        kinds.setdefault((run["set"], run["what"]), []).append(run)
    lines = [
        "| pictures | what | runs | seconds, median | processor seconds "
        "| files decoded per second | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for (of, what), runs in kinds.items():
        title = ""
        if what == "first start":
            title = f"{FOLDERS[of]}, {runs[0]['decoded_bytes'] / 1e9:.1f} GB decoded"
        step = STEPS[what].format(steps=runs[0].get("steps"), batch=runs[0].get("batch"))
        if what == "check":
            step += f" of {runs[0]['images']:,} of them"
        rates = [run["decoded_per_second"] for run in runs if "decoded_per_second" in run]
        middle = f"{statistics.median(rates):,.0f}" if rates else ""
        used = statistics.median(run["processor_seconds"] for run in runs)
        lines.append(
            f"| {title} | {step} | {len(runs)} "
            f"| {statistics.median(run['seconds'] for run in runs):.1f} | {used:.1f} | {middle} "
            f"| {max(run['peak_memory_mb'] for run in runs):,.0f} MB |"
        )
    loads = [run["load_before"] for run in whole["runs"]]
    lines += [
        "",
        f"{whole['threads']} thread{'' if whole['threads'] == 1 else 's'} of "
        f"{whole['processor']}, at low priority beside other work; load average "
        f"{min(loads):.0f} to {max(loads):.0f} before each run. "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def unknown_tables() -> str:
    """Return how well foreign images are told from ordinary ones: by the score of ``predict``, and
    by two others."""
    whole: dict[str, Any] = json.loads((RESULTS / "unknown-cpu.json").read_text())
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        by_recipe.setdefault(run["recipe"], []).append(run)
    lines = []
    for recipe, runs in by_recipe.items():
        ordinary = [run["ordinary"] for run in runs]
        every = accuracy(run["test_accuracy"] for run in runs)
        lines += [
            f"`{recipe}`, {len(runs)} seeds, {every} of all test images correct:",
            "",
            "| images | AUROC: probability | energy | neighbours "
            "| unknown: probability | energy | neighbours |",
            "|---|---|---|---|---|---|---|",
        ]
        for kind in runs[0]["foreign"]:
            rows = [run["foreign"][kind] for run in runs]
            areas = [three_places(row["auroc"][score] for row in rows) for score in SCORES]
            lines.append(row_of(kind, areas + by_score(rows, "unknown")))
        lines += [
            row_of("its own test images", ["", "", "", *by_score(ordinary, "unknown")]),
            row_of(
                "of those not unknown, correct",
                ["", "", "", *by_score(ordinary, "accuracy_of_the_others")],
            ),
            "",
        ]
    where, images = whole["environment"], whole["runs"][0]["ordinary"]["images"]
    lines.append(
        f"Mean ± standard deviation over seeds; {images:,} test images and "
        f"{whole['foreign_images']:,} of each foreign kind, the same for every seed; "
        f"{where['processor']}, torch {where['torch']}. Every run: "
        "[result file](../benchmarks/results/unknown-cpu.json). "
        f"Repeat with `{whole['command']}`."
    )
    return "\n".join(lines)


FEATURE_SCORES = ("probability", "energy", "neighbors", "mahalanobis", "either")


def unknown_features_table() -> str:
    """Return how well foreign images are told from ordinary ones by a last layer on a backbone's
    features."""
    whole: dict[str, Any] = json.loads((RESULTS / "unknown-features-cpu.json").read_text())
    runs, where = whole["runs"], whole["environment"]
    lines = [
        "| images | probability | energy | neighbours | Mahalanobis | either |",
        "|---|---|---|---|---|---|",
    ]
    for kind in runs[0]["kinds"]:
        rows = [run["kinds"][kind] for run in runs]
        areas = [three_places(row["auroc"][score] for row in rows) for score in FEATURE_SCORES]
        shares = [accuracy(row["fpr95"][score] for row in rows) for score in FEATURE_SCORES]
        lines += [row_of(f"{kind}: AUROC", areas), row_of("still answered", shares)]
    right = accuracy(run["test_accuracy"] for run in runs)
    lines += [
        "",
        f"`{whole['backbone']}`, {whole['known_classes']} of CIFAR-10's classes, "
        f"{whole['images_a_class']} training images of each; {right} of their "
        f"{runs[0]['test_images']:,} test images are correct. Mean ± standard deviation over "
        f"{len(runs)} seeds, which also draw the classes; {where['processor']}, torch "
        f"{where['torch']}. Every run: "
        "[result file](../benchmarks/results/unknown-features-cpu.json). "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def photographs_table() -> str:
    """Return the results on photographs of a digit, by what is on and around the paper."""
    whole: dict[str, Any] = json.loads((RESULTS / "photographs.json").read_text())
    lines = [
        "| paper | photographs | correct | unknown | wrong | best class correct |",
        "|---|---|---|---|---|---|",
    ]
    for row in whole["kinds"]:
        wrong = row["photographs"] - row["right"] - row["unknown"]
        cells = [row["photographs"], row["right"], row["unknown"], wrong, row["best_right"]]
        lines.append(row_of(row["kind"], [str(cell) for cell in cells]))
    where = whole["environment"]
    lines += [
        "",
        f"The bundled model `{whole['model']}`; {where['processor']}, torch {where['torch']}. "
        "Every figure: [result file](../benchmarks/results/photographs.json). "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def many_answers_table() -> str:
    """Return the speed of answers for many images in shards, by number of workers."""
    whole: dict[str, Any] = json.loads((RESULTS / "many_answers.json").read_text())
    lines = [
        "| images | workers | images/s | images per processor second | peak memory of a worker |",
        "|---|---|---|---|---|",
    ]
    cases = dict.fromkeys((run["images"], run["workers"]) for run in whole["runs"])
    for images, workers in cases:
        runs = [
            run for run in whole["runs"] if (run["images"], run["workers"]) == (images, workers)
        ]
        speed = statistics.median(run["images"] / run["seconds"] for run in runs)
        spent = statistics.median(run["images"] / run["processor_seconds"] for run in runs)
        memory = max(peak for run in runs for peak in run["peak_memory_mb"])
        lines.append(f"| {images:,} | {workers} | {speed:,.0f} | {spent:,.0f} | {memory:,.0f} MB |")
    versions = ", ".join(f"{name} {number}" for name, number in whole["versions"].items())
    repeats = 1 + max(run["repeat"] for run in whole["runs"])
    loads = [run["load_before"] for run in whole["runs"]]
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of {repeats} runs, for memory the maximum; {whole['cores']} cores of "
            f"{whole['processor']}, on which {min(loads):.0f} to {max(loads):.0f} other processes "
            f"ran; {versions}. Repeat with `{whole['command']}`.",
        ]
    )
