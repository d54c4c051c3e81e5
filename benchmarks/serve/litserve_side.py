"""The same network behind LitServe, the plain way of its documentation.

    python benchmarks/serve/litserve_side.py RUN PORT [--batched]

Runs in an environment of its own (``pip install torch==2.13.0 litserve``, then firstlight, which
only reads the weights). ``--batched`` turns LitServe's own batching on.
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
    """PNG in base64 in, class and probabilities out."""

    def __init__(self, run: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self._run = run

    def setup(self, device: str) -> None:
        """The network."""
        torch.set_num_threads(1)  # beside the server and the client, two are slower here
        self._saved = load_model(open_run_folder(self._run))

    def decode_request(self, request: dict[str, str]) -> torch.Tensor:
        """The picture as uint8, H×W×1."""
        picture = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("L")
        return torch.from_numpy(np.array(picture)[..., None])

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Uint8 N×H×W×1."""
        return torch.stack(inputs)

    @torch.inference_mode()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities, N×K or K."""
        images_NHWC = x if x.ndim == 4 else x[None]
        scores_NK = self._saved.model(self._saved.preprocess(images_NHWC)).float()
        probabilities_NK = (scores_NK / self._saved.temperature).softmax(dim=1)
        return probabilities_NK if x.ndim == 4 else probabilities_NK[0]

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        """One row for each."""
        return list(output)

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        """What is sent back."""
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
