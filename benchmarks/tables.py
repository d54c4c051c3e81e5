"""Write the documents' result tables from the committed result files.

    python benchmarks/tables.py          # rewrite the tables in place
    python benchmarks/tables.py --check  # exit 1 where a document disagrees

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (
    "README.md",
    "docs/tutorial.md",
    "docs/performance.md",
    "docs/own-pictures.md",
    "docs/trust.md",
)
SIDES = {
    "pytorch-loop": "the tutorial, a plain PyTorch data-loader loop",
    "firstlight-tutorial": "the tutorial, firstlight",
    "airbench": "airbench's recipe, eager PyTorch, 8 epochs",
    "firstlight-standard": "firstlight, `cifar10-standard`",
}
SMALL_SETS = {
    "digits": "scikit-learn's digits, 1,437 to train",
    "cifar10-100-a-class": "CIFAR-10, 100 a class",
    "mnist-uneven": "MNIST, 2,000 down to 20 a class",
}
FOLDERS = {
    "cifar10-png": "CIFAR-10 as 60,000 PNG files",
    "mosaics": "210,000 JPEG files of 128 × 128 pixels",
}
STEPS = {
    "first start": "first start: decoded, copies found, parts made",
    "second start": "second start",
    "check": "`data check`",
    "train": "start and {steps:,} steps of {batch} images",
}
TITLES = {"mnist": "MNIST, 5 epochs", "cifar10": "CIFAR-10, 10 epochs"}
SCORES = ("probability", "energy", "neighbours")


def keras_table() -> str:
    """The tutorial in Keras and in firstlight: accuracy, time, memory."""
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
        f"n = {first['summary']['keras']['n']} seeds a side, interleaved; {first['cores']} cores "
        f"of {first['processor']}; {', '.join(f'{k} {v}' for k, v in sorted(versions.items()))}. "
        f"Repeat with `{first['command']}`.",
    ]
    return "\n".join(lines)


def recipes_table() -> str:
    """Every recipe that ``firstlight bench`` has measured: accuracy, seconds, memory."""
    lines = [
        "| recipe | runs | test accuracy, mean ± sd | `fl.train`, median | of it training "
        "| peak memory | rate in training | the machine's own rate, fp32 | where |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("bench-*.json")):
        whole: dict[str, Any] = json.loads(path.read_text())
        summary, runs, where = whole["summary"], whole["runs"], whole["environment"]
        lines.append(
            f"| [`{whole['recipe']['name']}`](../benchmarks/results/{path.name}) | {summary['n']} "
            f"| {accuracy(run['test_accuracy'] for run in runs)} "
            f"| {summary['fit_seconds_median']:.1f} s "
            f"| {statistics.median(run['train_seconds'] for run in runs):.1f} s "
            f"| {summary['peak_memory_mb_max']:,.0f} MB "
            f"| {span([run['training_gflops'] for run in runs if 'training_gflops' in run])} "
            f"| {span([run['matmul_gflops_before'] for run in runs])} "
            f"| {where['accelerator'] or where['processor']}, {where['threads']} threads |"
        )
    return "\n".join(lines)


def peers_table() -> str:
    """Other ways to train, in turn with firstlight."""
    path = RESULTS / "peers.json"
    whole: dict[str, Any] = json.loads(path.read_text())
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        kinds.setdefault((run["data"], run["side"]), []).append(run)
    lines = [
        "| set | side | runs | test accuracy, mean ± sd | wall time, median | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for (data, side), runs in kinds.items():
        lines.append(
            f"| {data} | {SIDES[side]} | {len(runs)} "
            f"| {accuracy(run['test_accuracy_by_epoch'][-1] for run in runs)} "
            f"| {statistics.median(run['fit_seconds'] for run in runs):.0f} s "
            f"| {max(run['peak_memory_mb'] for run in runs):,.0f} MB |"
        )
    lines += [
        "",
        f"Interleaved; {whole['cores']} cores of {whole['processor']}. "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def small_sets_table() -> str:
    """Three small sets: firstlight, scikit-learn, Keras in the same time."""
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
        f"One side after another; {whole['cores']} cores of {whole['processor']}. "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def decoding_table() -> str:
    """Folders of pictures: seconds, files a second, memory."""
    whole: dict[str, Any] = json.loads((RESULTS / "decoding.json").read_text())
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        kinds.setdefault((run["set"], run["what"]), []).append(run)
    lines = [
        "| pictures | what | runs | seconds, median | processor seconds "
        "| files decoded a second | peak memory |",
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
    threads = "1 thread" if whole["threads"] == 1 else f"{whole['threads']} threads"
    lines += [
        "",
        f"{threads} of {whole['processor']}, at a low priority beside other work, with a load of "
        f"{min(loads):.0f} to {max(loads):.0f} before each run. "
        f"Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def unknown_tables() -> str:
    """Foreign images against ordinary ones: by what ``predict`` uses, and by two other scores."""
    whole: dict[str, Any] = json.loads((RESULTS / "unknown-cpu.json").read_text())
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for run in whole["runs"]:
        by_recipe.setdefault(run["recipe"], []).append(run)
    lines = []
    for recipe, runs in by_recipe.items():
        ordinary = [run["ordinary"] for run in runs]
        every = accuracy(run["test_accuracy"] for run in runs)
        lines += [
            f"`{recipe}`, {len(runs)} seeds, {every} of all test images right:",
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
                "of them not unknown, right",
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


def by_score(rows: list[dict[str, Any]], figure: str) -> list[str]:
    """A share by each score, in per cent."""
    return [accuracy(row[figure][score] for row in rows) for score in SCORES]


def row_of(name: str, cells: list[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join([name, *cells])} |"


def three_places(values: Iterable[float]) -> str:
    """Mean and standard deviation of numbers from 0 to 1."""
    of = list(values)
    return f"{statistics.mean(of):.3f} ± {statistics.stdev(of):.3f}"


def accuracy(values: Iterable[float]) -> str:
    """Mean, and standard deviation where there is more than one, in per cent."""
    of = [100 * value for value in values]
    spread = f" ± {statistics.stdev(of):.2f}" if len(of) > 1 else ""
    return f"{statistics.mean(of):.2f}{spread} %"


def span(rates: list[float]) -> str:
    """The smallest and the largest rate."""
    if not rates:
        return "not counted"
    low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
    return f"{low} GFLOP/s" if low == high else f"{low} to {high} GFLOP/s"


TABLES = {
    "tutorial_vs_keras": keras_table,
    "recipes": recipes_table,
    "peers": peers_table,
    "small_sets": small_sets_table,
    "decoding": decoding_table,
    "unknown": unknown_tables,
}


def with_tables(text: str) -> str:
    """The document with every table made anew."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the documents' result tables.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check: bool = parser.parse_args().check
    stale = []
    for path in (ROOT / name for name in DOCUMENTS):
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        new = with_tables(text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale:
        print(f"{'stale' if check else 'rewritten'}: {', '.join(stale)}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
