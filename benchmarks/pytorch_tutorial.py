"""The classic tutorial as a plain PyTorch loop, one run: python pytorch_tutorial.py DATA.npz NAME
SEED EPOCHS.

It uses a ``Dataset`` of single images, a ``DataLoader`` that shuffles and collates them, contiguous
tensors and Adam, as PyTorch's own beginner's tutorial does. It prints one JSON line.
"""

import json
import resource
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 255
        return pixels.contiguous(), int(self.labels[index])


def network(name: str) -> nn.Module:
    if name == "mnist":
        body = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
        body += [nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(1600, 64), nn.ReLU(), nn.Linear(64, 10))
    body = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
    body += [nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 128, 3), nn.ReLU()]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, 10))


def main(path: str, name: str, seed: int, epochs: int) -> None:
    torch.manual_seed(seed)
    with np.load(path, allow_pickle=False) as file:
        train = Images(file["train_images"], file["train_labels"])
        test = Images(file["test_images"], file["test_labels"])
    started = time.perf_counter()
    model = network(name)
    for layer in model.modules():  # initialize as Keras does
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    accuracies = []
    for _ in range(epochs):
        model.train()
        for pixels, labels in DataLoader(train, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels), labels).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for pixels, labels in DataLoader(test, batch_size=32):
                right += int((model(pixels).argmax(1) == labels).sum())
        accuracies.append(right / len(test))
    print(
        json.dumps(
            {
                "fit_seconds": time.perf_counter() - started,
                "parameters": sum(p.numel() for p in model.parameters()),
                "test_accuracy_by_epoch": accuracies,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "versions": {"torch": torch.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
