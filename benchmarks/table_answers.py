"""The table of prediction speed, by runtime."""

import json
from typing import Any

from table_cells import RESULTS, row_of

SIDES = {
    "torch": "firstlight, run (PyTorch)",
    "onnx": "firstlight, exported",
    "onnxruntime": "plain onnxruntime",
    "int8": "firstlight, exported with `--int8`",
    "onnxruntime-int8": "plain onnxruntime, int8",
    "openvino": "plain OpenVINO",
    "openvino-int8": "plain OpenVINO, int8",
}


def answers_table() -> str:
    """Return the latency of one image and the best throughput, firstlight's beside the bare
    runtimes'."""
    whole: dict[str, Any] = json.loads((RESULTS / "answers-cpu.json").read_text())
    lines = [
        "| network | side | one image, median | relative to the bare runtime "
        "| images per second, best batch | relative to the bare runtime |",
        "|---|---|---|---|---|---|",
    ]
    loads = []
    for recipe, of_network in whole["networks"].items():
        loads += of_network["load"]
        for side, title in SIDES.items():
            figures = of_network["summary"][side]
            lines.append(
                row_of(
                    f"`{recipe}`" if side == "torch" else "",
                    [
                        title,
                        f"{1e6 * figures['latency_seconds']:,.0f} µs",
                        ratio(figures, "latency_seconds"),
                        f"{figures['images_per_second']:,.0f}",
                        ratio(figures, "images_per_second"),
                    ],
                )
            )
    rounds = sorted({len(of_network["rounds"]) for of_network in whole["networks"].values()})
    versions = ", ".join(f"{name} {number}" for name, number in whole["versions"].items())
    lines += [
        "",
        f"Medians of {' or '.join(map(str, rounds))} rounds per network, interleaved; ratios are "
        "medians of the rounds' ratios; "
        f"{whole['threads']} threads of {whole['processor']}, beside other programs (load average "
        f"{min(loads):.1f} to {max(loads):.1f}); {versions}. Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)


def ratio(figures: dict[str, float], figure: str) -> str:
    """Return the ratio of firstlight's figure to the bare runtime's, if there is one."""
    value = figures.get(f"{figure}_to_bare")
    return "" if value is None else f"{value:.2f}"
