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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = ("README.md", "docs/tutorial.md", "docs/performance.md")
TITLES = {"mnist": "MNIST, 5 epochs", "cifar10": "CIFAR-10, 10 epochs"}


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
        "| peak memory | where |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("bench-*.json")):
        whole: dict[str, Any] = json.loads(path.read_text())
        summary, runs, where = whole["summary"], whole["runs"], whole["environment"]
        spread = f" ± {100 * summary['accuracy_sd']:.2f}" if summary["n"] > 1 else ""
        speeds = sorted(run["matmul_gflops_before"] for run in runs)
        lines.append(
            f"| [`{whole['recipe']['name']}`](../benchmarks/results/{path.name}) | {summary['n']} "
            f"| {100 * summary['accuracy_mean']:.2f}{spread} % "
            f"| {summary['fit_seconds_median']:.1f} s "
            f"| {statistics.median(run['train_seconds'] for run in runs):.1f} s "
            f"| {summary['peak_memory_mb_max']:,.0f} MB "
            f"| {where['accelerator'] or where['processor']}, {where['threads']} threads, matrix "
            f"products at {speeds[0]:,.0f} to {speeds[-1]:,.0f} GFLOP/s just before the runs |"
        )
    return "\n".join(lines)


TABLES = {"tutorial_vs_keras": keras_table, "recipes": recipes_table}


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
