"""The table of the formats that a run is exported to."""

import json
from typing import Any

from table_cells import RESULTS, row_of

TITLES = {
    "safetensors": "safetensors, in PyTorch",
    "torch-export": "PyTorch `.pt2`",
    "onnx": "ONNX, in onnxruntime",
    "onnx-int8": "ONNX `--int8`",
    "litert": "LiteRT",
    "litert-int8": "LiteRT `--int8`",
    "keras": "Keras",
}


def formats_table() -> str:
    """Size, accuracy and time of one image, by format."""
    whole: dict[str, Any] = json.loads((RESULTS / "formats-cpu.json").read_text())
    lines = [
        "| model | format | size | accuracy | largest difference to the run | one image, median |",
        "|---|---|---|---|---|---|",
    ]
    loads = []
    for name, model in whole["models"].items():
        loads += model["load"]
        for side, title in TITLES.items():
            figures = model["sides"][side]
            seconds = figures.get("seconds")
            cells = [
                title,
                f"{figures['bytes'] / 1e6:.2f} MB",
                f"{100 * figures['accuracy']:.2f} %",
                f"{figures['largest_difference']:.1g}",
                "not run" if seconds is None else f"{1e3 * seconds:.2f} ms",
            ]
            lines.append(row_of(f"`{name}`" if side == "safetensors" else "", cells))
    rounds = {len(m["sides"]["onnx"]["rounds"]) for m in whole["models"].values()}
    images = " and ".join(f"{model['images']:,}" for model in whole["models"].values())
    versions = ", ".join(f"{name} {number}" for name, number in whole["versions"].items())
    lines += [
        "",
        f"Accuracy and difference of probabilities on all {images} test images. Times: medians of "
        f"{' or '.join(map(str, sorted(rounds)))} rounds, interleaved, one thread of "
        f"{whole['processor']}, beside other programs (load average {min(loads):.1f} to "
        f"{max(loads):.1f}); {versions}. Repeat with `{whole['command']}`.",
    ]
    return "\n".join(lines)
