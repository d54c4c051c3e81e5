"""The recipe of the CIFAR-10 speed record, one run: python airbench.py DATA.npz SEED EPOCHS.

Written from the published numbers (K. Jordan: 94 % on CIFAR-10 in 3.29 seconds on a single GPU,
2024, and the later variant with Muon): whitening stem, widths 64/256/256, batches of 2,000, Muon at
0.24 for the filters, SGD for the rest, linear decay, alternating flips, crops after reflecting two
pixels, label smoothing, six test views. It uses bfloat16 instead of the source's float16 if the
processor supports it. It prints one JSON line.
"""

import json
import resource
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH, SMOOTHING = 2000, 0.2
MUON_RATE, MUON_MOMENTUM = 0.24, 0.6
HEAD_RATE, BIAS_RATE, DECAY = 0.67, 0.053, 2e-6
WHITENING_BIAS_EPOCHS = 3


class Group(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1, self.norm2 = (nn.BatchNorm2d(outputs, 1e-12, 0.4) for _ in range(2))
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight[: conv.in_channels].data)
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]
        self.groups = nn.Sequential(Group(24, 64), Group(64, 256), Group(256, 256))
        self.head = nn.Linear(256, 10, bias=False)

    def initialize_from(self, images: Tensor) -> None:
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + 5e-4).sqrt()).T.flip(0).reshape(12, 3, 2, 2)
        self.whiten.weight.data.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.groups(functional.gelu(self.whiten(x))), 3).flatten(1)
        logits: Tensor = self.head(x) / 256
        return logits


def orthogonalised(x: Tensor) -> Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x) / (x.norm() + 1e-7)
    for _ in range(3):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def six_views(net: Net, x: Tensor) -> Tensor:
    def mirrored(y: Tensor) -> Tensor:
        both: Tensor = net(y) + net(y.flip(-1))
        return both

    padded = functional.pad(x, (1,) * 4, "reflect")
    shifted = mirrored(padded[:, :, 0:32, 0:32]) + mirrored(padded[:, :, 2:34, 2:34])
    return mirrored(x) / 4 + shifted / 8


def main(path: str, seed: int, epochs: int) -> None:
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mixed = device == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]).to(device) for name in file.files}
    started = time.perf_counter()
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])

    def normalised(images: Tensor) -> Tensor:
        scaled = (images.float() / 255 - mean.to(device)) / std.to(device)
        return scaled.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    images, test = normalised(arrays["train_images"]), normalised(arrays["test_images"])
    labels = arrays["train_labels"]
    net = Net().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.initialize_from(images[:5000])
    filters = [p for p in net.parameters() if p.ndim == 4 and p.requires_grad]
    norms = [p for n, p in net.named_parameters() if "norm" in n and p.requires_grad]
    groups = [
        {"params": [net.whiten.bias], "lr": BIAS_RATE, "weight_decay": DECAY / BIAS_RATE},
        {"params": norms, "lr": BIAS_RATE, "weight_decay": DECAY / BIAS_RATE},
        {"params": [net.head.weight], "lr": HEAD_RATE, "weight_decay": DECAY / HEAD_RATE},
    ]
    for group in groups:  # the loss is summed over the batch, and so is the decay
        group["weight_decay"] *= BATCH  # type: ignore[operator]
    sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
    peaks = [group["lr"] for group in sgd.param_groups]
    momenta = [torch.zeros_like(p) for p in filters]

    coins = (torch.rand(len(images)) < 0.5).to(device)
    images = torch.where(coins[:, None, None, None], images.flip(-1), images)
    padded = functional.pad(images, (2,) * 4, "reflect")
    steps_per_epoch = len(images) // BATCH
    total, step = steps_per_epoch * epochs, 0
    for epoch in range(epochs):
        offsets = torch.randint(0, 5, (len(images), 2))
        crops = torch.empty_like(images)
        for top in range(5):
            for left in range(5):
                here = ((offsets[:, 0] == top) & (offsets[:, 1] == left)).to(device)
                crops[here] = padded[here, :, top : top + 32, left : left + 32]
        if epoch % 2 == 1:
            crops = crops.flip(-1)
        net.train()
        for chosen in torch.randperm(len(images), device=device).split(BATCH):
            with torch.autocast(device, torch.bfloat16, enabled=mixed):
                logits = net(crops[chosen])
            functional.cross_entropy(
                logits.float(), labels[chosen], label_smoothing=SMOOTHING, reduction="sum"
            ).backward()
            left_over = 1 - step / total
            for group, peak in zip(sgd.param_groups, peaks, strict=True):
                group["lr"] = peak * left_over
            if step >= WHITENING_BIAS_EPOCHS * steps_per_epoch:
                sgd.param_groups[0]["lr"] = 0.0
            sgd.step()
            with torch.no_grad():
                for weight, momentum in zip(filters, momenta, strict=True):
                    momentum.mul_(MUON_MOMENTUM).add_(weight.grad)
                    ahead = weight.grad.add(momentum, alpha=MUON_MOMENTUM)
                    weight.mul_(len(weight) ** 0.5 / weight.norm())
                    update = orthogonalised(ahead.reshape(len(weight), -1)).view_as(weight)
                    weight.add_(update, alpha=-MUON_RATE * left_over)
            net.zero_grad(set_to_none=True)
            step += 1
    net.eval()
    with torch.no_grad():
        answers = torch.cat([six_views(net, part).argmax(1) for part in test.split(1000)])
    accuracy = float((answers == arrays["test_labels"]).float().mean())
    print(
        json.dumps(
            {
                "fit_seconds": time.perf_counter() - started,
                "parameters": sum(p.numel() for p in net.parameters()),
                "test_accuracy_by_epoch": [None] * (epochs - 1) + [accuracy],
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "versions": {"torch": torch.__version__},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
