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
    "docs/serve.md",
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
SERVERS = {
    "firstlight": "firstlight",
    "litserve": "LitServe {}, plain",
    "litserve-batched": "LitServe {}, with its batching",
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


def serve_tables() -> str:
    """The service: latency, requests a second beside LitServe, a long overload, fuzzing."""
    latency, throughput, soak, fuzz = (
        json.loads((RESULTS / f"serve-{name}-cpu.json").read_text())
        for name in ("latency", "throughput", "soak", "fuzz")
    )
    rates, ratios = (
        throughput["summary"][k] for k in ("median_requests_per_second", "ratio_median")
    )
    by_side: dict[str, list[dict[str, Any]]] = {}
    for run in throughput["runs"]:
        by_side.setdefault(run["side"], []).append(run)
    lines = [
        f"One client, one 28×28 PNG after another, `{latency['recipe']}`:",
        "",
        "| round | requests | p50 | p95 | wrong answers | load average |",
        "|---|---|---|---|---|---|",
    ]
    for number, of in enumerate(latency["rounds"], start=1):
        figures = [f"{of['requests']:,}", f"{of['p50_ms']:.1f} ms", f"{of['p95_ms']:.1f} ms"]
        lines.append(row_of(str(number), [*figures, str(of["wrong_answers"]), load_of([of])]))
    lines += [
        "",
        f"Saturation, {throughput['connections']} connections of wrk, the same network on each "
        f"side, in turn, {len(by_side['firstlight'])} rounds:",
        "",
        "| server | requests a second, median | firstlight is faster by, median of rounds "
        "| processor time a request, median | load average |",
        "|---|---|---|---|---|",
    ]
    for side, runs in by_side.items():
        ratio = f"{ratios[side]:.2f}" if side in ratios else ""
        named = SERVERS[side].format(throughput["litserve"])
        cost = f"{statistics.median(run['cpu_ms_per_request'] for run in runs):.2f} ms"
        lines.append(row_of(named, [f"{rates[side]:,.0f}", ratio, cost, load_of(runs)]))
    memory, statuses = soak["memory_mb_after_warm_up"], soak["statuses"]
    pictures, requests = fuzz["pictures"], fuzz["requests"]
    faults = pictures["fault_count"] + requests["fault_count"]
    lines += [
        "",
        f"{soak['seconds'] / 60:.0f} minutes at twice the capacity measured just before "
        f"({soak['offered_requests_per_second']:,.0f} requests a second offered), "
        f"{soak['connections']} connections: {statuses['200']:,} answers, "
        f"{soak['wrong_answers']} of them wrong; {statuses.get('503', 0):,} times 503; "
        f"{soak['hangs']} hangs; {soak['broken_connections']} connections broken off; for "
        f"{soak['no_connection_free']:,} no connection was free; memory "
        f"{memory['least']:.0f} to {memory['most']:.0f} MB after the first minute "
        f"({100 * soak['memory_growth']:.1f} % growth); load average {load_of([soak])}.",
        "",
        f"Fuzzed with {pictures['sent']:,} damaged pictures, {requests['sent']:,} malformed "
        f"requests and {fuzz['schemathesis']['cases']:,} cases of Schemathesis: {faults} faults "
        "(5xx other than 503, hangs, words about the machine, wrong answers in between).",
        "",
        f"Two cores of {latency['environment']['processor']}, torch "
        f"{latency['environment']['torch']}, client and server on the same machine, which did "
        "other work meanwhile, as the load averages say (2 would be both cores busy). Repeat with "
        + ", ".join(f"`{of['command']}`" for of in (latency, throughput, soak, fuzz))
        + ".",
    ]
    return "\n".join(lines)


def load_of(rows: list[dict[str, Any]]) -> str:
    """The load averages just before, from the least to the greatest."""
    loads = [row["load_before"]["load_1_min"] for row in rows]
    low, high = f"{min(loads):.0f}", f"{max(loads):.0f}"
    return low if low == high else f"{low} to {high}"


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
    "unknown": unknown_tables,
    "serve": serve_tables,
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
