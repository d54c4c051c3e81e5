"""Tables of the service: latency, throughput, overload, fuzzing."""

import json
import statistics
from typing import Any

from table_cells import RESULTS, load_of, row_of

SERVERS = {
    "firstlight": "firstlight",
    "litserve": "LitServe {}, plain",
    "litserve-batched": "LitServe {}, with its batching",
}


def serve_tables() -> str:
    """Return the service's latency, requests per second beside LitServe, a long overload, and
    fuzzing."""
    latency, throughput, soak, studio, fuzz, studio_fuzz = (
        json.loads((RESULTS / f"serve-{name}-cpu.json").read_text())
        for name in ("latency", "throughput", "soak", "soak-studio", "fuzz", "fuzz-studio")
    )
    rates, ratios = (
        throughput["summary"][k] for k in ("median_requests_per_second", "ratio_median")
    )
    by_side: dict[str, list[dict[str, Any]]] = {}
    for run in throughput["runs"]:
        by_side.setdefault(run["side"], []).append(run)
    lines = [
        f"Latency of one client that sends one 28×28 PNG after another, `{latency['recipe']}`:",
        "",
        "| round | requests | p50 | p95 | wrong answers | load average |",
        "|---|---|---|---|---|---|",
    ]
    for number, of in enumerate(latency["rounds"], start=1):
        figures = [f"{of['requests']:,}", f"{of['p50_ms']:.1f} ms", f"{of['p95_ms']:.1f} ms"]
        lines.append(row_of(str(number), [*figures, str(of["wrong_answers"]), load_of([of])]))
    lines += [
        "",
        f"Throughput under saturation, {throughput['connections']} connections of wrk, the same "
        f"network on each side, {len(by_side['firstlight'])} interleaved rounds:",
        "",
        "| server | requests per second, median | firstlight's speedup, median of rounds "
        "| processor time per request, median | load average |",
        "|---|---|---|---|---|",
    ]
    for side, runs in by_side.items():
        ratio = f"{ratios[side]:.2f}" if side in ratios else ""
        named = SERVERS[side].format(throughput["litserve"])
        cost = f"{statistics.median(run['cpu_ms_per_request'] for run in runs):.2f} ms"
        lines.append(row_of(named, [f"{rates[side]:,.0f}", ratio, cost, load_of(runs)]))
    lines += [
        "",
        f"Overload, {overload(soak)}.",
        "",
        "Overload of the studio, where one request in eight is to a view of it, such as the "
        f"pictures of a set or the list of trainings, on {studio['environment']['processor']}: "
        f"{overload(studio)}.",
        "",
        f"Fuzzing with {fuzzing(fuzz)} (5xx other than 503, hangs, details about the machine, "
        f"wrong answers in between), on {fuzz['environment']['processor']}. Of the studio, with "
        f"{fuzzing(studio_fuzz)}, on {studio_fuzz['environment']['processor']}.",
        "",
        f"The rest on two cores of {latency['environment']['processor']}, torch "
        f"{latency['environment']['torch']}, client and server on the same machine, which "
        "also did other work: see the load averages (2 means that both cores are busy). "
        "Repeat with "
        + ", ".join(
            f"`{of['command']}`" for of in (latency, throughput, soak, studio, fuzz, studio_fuzz)
        )
        + ".",
    ]
    return "\n".join(lines)


def workers_table() -> str:
    """Return the requests per second of one process and of two."""
    whole = json.loads((RESULTS / "serve-workers-cpu.json").read_text())
    lines = [
        "| processes | requests per second, median | processor time per request, median |",
        "|---|---|---|",
    ]
    counts = sorted({run["workers"] for run in whole["runs"]})
    of = {n: [run for run in whole["runs"] if run["workers"] == n] for n in counts}
    for count, runs in of.items():
        rate, cost = (
            statistics.median(run[name] for run in runs)
            for name in ("requests_per_second", "cpu_ms_per_request")
        )
        lines.append(row_of(str(count), [f"{rate:,.0f}", f"{cost:.2f} ms"]))
    return "\n".join(
        [
            *lines,
            "",
            f"`{whole['recipe']}`, {whole['connections']} connections of wrk on the same machine, "
            f"{len(of[counts[0]])} interleaved rounds; two processes are faster by "
            f"{whole['summary']['ratio_median']:.2f}, median of rounds. {whole['cores']} cores of "
            f"{whole['environment']['processor']}, load average "
            f"{load_of(whole['runs'])}. Repeat with `{whole['command']}`.",
        ]
    )


def fuzzing(fuzz: dict[str, Any]) -> str:
    """Return what was sent, and the number of faults."""
    pictures, requests = fuzz["pictures"], fuzz["requests"]
    faults = pictures["fault_count"] + requests["fault_count"]
    return (
        f"{pictures['sent']:,} damaged pictures, {requests['sent']:,} malformed requests and "
        f"{fuzz['schemathesis']['cases']:,} cases of Schemathesis: {faults} faults"
    )


def overload(soak: dict[str, Any]) -> str:
    """Describe a soak, as the rest of a sentence."""
    memory, statuses = soak["memory_mb_after_warm_up"], soak["statuses"]
    late = f"{statuses['504']:,} times 504; " if "504" in statuses else ""
    return (
        f"{soak['seconds'] / 60:.0f} minutes at twice the capacity measured just before "
        f"({soak['offered_requests_per_second']:,.0f} requests per second offered), "
        f"{soak['connections']} connections: {statuses['200']:,} answers, "
        f"{soak['wrong_answers']} of them wrong; {statuses.get('503', 0):,} times 503; {late}"
        f"{soak['hangs']} hangs; {soak['broken_connections']} broken connections; "
        f"{soak['no_connection_free']:,} requests found no free connection; memory "
        f"{memory['least']:.0f} to {memory['most']:.0f} MB after the first minute "
        f"({100 * soak['memory_growth']:.1f} % growth); load average {load_of([soak])}"
    )
