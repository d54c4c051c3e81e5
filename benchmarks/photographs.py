"""Measure how many photographs of a digit the boxed model reads, by what is on and around the
paper.

    python benchmarks/photographs.py

The photographs are synthetic: MNIST's test digits with odd numbers on paper with lines, shading,
blur, noise and JPEG, using the ``CHECK`` settings of ``tests/data/photographs.py``. The search for
lines and frames was developed on different settings. The photographs are prepared as in
``predict``.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from tests.data.photographs import CHECK, KINDS, photographs  # noqa: E402

import firstlight as fl  # noqa: E402
from firstlight.data.pictures import PictureSource  # noqa: E402
from firstlight.files import write_whole  # noqa: E402
from firstlight.model import open_model  # noqa: E402
from firstlight.runs.box import boxed_folder  # noqa: E402
from firstlight.runs.record import environment  # noqa: E402
from firstlight.threads import usable_threads  # noqa: E402
from firstlight.verbs.predict import predict_pictures  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "photographs.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Photographs of a digit, by kind of paper.")
    parser.add_argument("--count", type=int, default=60, help="photographs of each kind")
    count: int = parser.parse_args().count
    model = open_model(boxed_folder("mnist"))
    test = fl.load("mnist").test
    images_NHW, labels_N = test.images_NHWC[1::2, ..., 0], test.labels_N[1::2]
    kinds = []
    for name in KINDS:
        made = photographs(name, images_NHW, CHECK, count)
        sources = [PictureSource(name=str(number), content=content) for content, number in made]
        found = predict_pictures(model, sources)
        truths = [str(labels_N[int(each.name)]) for each in found]
        kinds.append(
            {
                "kind": name,
                "photographs": count,
                "right": sum(e.answer == t for e, t in zip(found, truths, strict=True)),
                "unknown": sum(each.unknown for each in found),
                "best_right": sum(e.best == t for e, t in zip(found, truths, strict=True)),
            }
        )
        print(json.dumps(kinds[-1]), flush=True)
    whole: dict[str, Any] = {
        "command": "python benchmarks/photographs.py",
        "model": "mnist",
        "environment": environment("cpu", usable_threads()),
        "kinds": kinds,
    }
    write_whole(RESULT, json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
