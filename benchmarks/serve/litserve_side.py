"""The same network behind LitServe, as in its documentation.

    python benchmarks/serve/litserve_side.py RUN PORT [--batched]

It runs in its own environment (``pip install torch==2.13.0 litserve``, then firstlight, which only
reads the weights). ``--batched`` turns on LitServe's own batching.
"""

import argparse
import base64
import io
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import torch
from PIL import Image

from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import open_run_folder


class Digits(litserve.LitAPI):
    """Takes a PNG in base64, and returns class and probabilities."""

    def __init__(self, run: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self._run = run

    def setup(self, device: str) -> None:
        """Load the network."""
        torch.set_num_threads(1)  # beside server and client, two are slower here
        self._saved = load_model(open_run_folder(self._run))

    def decode_request(self, request: dict[str, str]) -> torch.Tensor:
        """Return the picture as uint8, H×W×1."""
        picture = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("L")
        return torch.from_numpy(np.array(picture)[..., None])

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Return uint8 N×H×W×1."""
        return torch.stack(inputs)

    @torch.inference_mode()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Return probabilities, N×K or K."""
        images_NHWC = x if x.ndim == 4 else x[None]
        scores_NK = self._saved.model(self._saved.preprocess(images_NHWC)).float()
        probabilities_NK = (scores_NK / self._saved.temperature).softmax(dim=1)
        return probabilities_NK if x.ndim == 4 else probabilities_NK[0]

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        """Return one row per request."""
        return list(output)

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        """Return the response."""
        names = self._saved.class_names
        return {
            "answer": names[int(output.argmax())],
            "probabilities": dict(zip(names, output.tolist(), strict=True)),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--batched", action="store_true")
    arguments = parser.parse_args()
    batching = {"max_batch_size": 64, "batch_timeout": 0.005} if arguments.batched else {}
    api = Digits(arguments.run, **batching)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=30)
    print(f"http://127.0.0.1:{arguments.port}", flush=True)
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="error",
    )


if __name__ == "__main__":
    main()
