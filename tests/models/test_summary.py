"""Summaries: counts by hand, PyTorch's own count of work, receptive fields from gradients."""

import ctypes
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from torch import Generator, nn
from torch.utils.flop_counter import FlopCounterMode

from firstlight import layers as la
from firstlight.errors import UserError
from firstlight.layers.network import Network
from firstlight.layers.summary import Summary, summarize
from firstlight.models.catalog import Architecture, parameter_count
from firstlight.models.network import NetworkModule
from firstlight.recipe import Recipe, load_recipe, recipe_names

SHAPE = (64, 64, 2)


def block(filters: int, stride: int = 1) -> la.Residual:
    first = la.Conv(filters, stride=stride, padding="same", bias=False)
    second = la.Conv(filters, padding="same", bias=False)
    return la.Residual((first, la.BatchNorm(), la.Activation(), second, la.BatchNorm()))


RESIDUAL = (
    la.Conv(4, padding="same", activation="relu"),
    la.Repeat(2, (block(4),)),
    block(8, 2),
    la.GlobalAveragePool(),
    la.Dense("classes"),
)
MIXED = (
    la.Conv(6, kernel=5, stride=2, activation="leaky-relu"),
    la.MaxPool(3, stride=2),
    la.Conv(6, depthwise=True, padding="same", dilation=2),
    la.Branches(((la.Conv(4, kernel=1), la.Conv(4, padding="same", groups=2)), (la.LayerNorm(),))),
    la.AveragePool(2),
    la.Conv(8),
    la.Flatten(),
    la.Dense(5, activation="gelu"),
    la.Dense("classes"),
)
NETWORKS = {"residual": RESIDUAL, "mixed": MIXED}


def build(layers: tuple[la.Layer, ...], shape: tuple[int, int, int] = SHAPE) -> NetworkModule:
    choice = Architecture(network=Network(layers=layers), image_shape=shape, classes=3)
    model = choice.build(Generator().manual_seed(0)).eval()
    assert isinstance(model, NetworkModule)
    model.rows, model.columns = shape[:2]  # also what reaches nothing, as the list has it
    return model


def test_the_tutorial_s_figures_by_hand() -> None:
    found = load_recipe("mnist-tutorial").network.summary((28, 28, 1), 10)

    assert [row.number for row in found.rows] == list("1234567")
    assert [row.name for row in found.rows] == [
        *("conv1", "max_pool1", "conv2", "max_pool2", "flatten1", "dense1", "dense2")
    ]
    assert [row.output for row in found.rows] == [
        *((26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64), (1600,), (64,), (10,))
    ]
    assert [row.trained for row in found.rows] == [320, 0, 18_496, 0, 0, 102_464, 650]
    assert [row.multiply_adds for row in found.rows] == [
        *(26 * 26 * 32 * 9, 0, 11 * 11 * 64 * 9 * 32, 0, 0, 1600 * 64, 640)
    ]
    assert [row.sees for row in found.rows] == [3, 4, 8, 10, 10, 0, 0]
    assert (found.trained, found.fixed) == (121_930, 0)
    assert found.multiply_adds == 2_528_000


def test_a_residual_network_s_figures_by_hand() -> None:
    found = summarize(Network(layers=RESIDUAL), (8, 8, 1), 3)

    lines = [
        (row.number, row.depth, row.trained, row.fixed, row.multiply_adds) for row in found.rows
    ]
    norm4, norm8 = (8, 8), (16, 16)
    same = 64 * 4 * 9 * 4
    assert lines[:9] == [
        ("1", 0, 40, 0, 64 * 4 * 9),
        ("2", 0, 0, 0, 0),
        ("2.1", 1, 0, 0, 0),
        ("2.1.1", 2, 144, 0, same),
        ("2.1.2", 2, *norm4, 0),
        ("2.1.3", 2, 0, 0, 0),
        ("2.1.4", 2, 144, 0, same),
        ("2.1.5", 2, *norm4, 0),
        ("", 2, 0, 0, 0),  # the shortcut, without layers
    ]
    assert lines[-11:-1] == [
        ("3", 0, 0, 0, 0),
        ("3.1", 1, 288, 0, 16 * 8 * 9 * 4),
        ("3.2", 1, *norm8, 0),
        ("3.3", 1, 0, 0, 0),
        ("3.4", 1, 576, 0, 16 * 8 * 9 * 8),
        ("3.5", 1, *norm8, 0),
        ("", 1, 0, 0, 0),
        ("", 2, 32, 0, 16 * 8 * 4),  # option B's 1×1 convolution
        ("", 2, *norm8, 0),
        ("4", 0, 0, 0, 0),
    ]
    assert lines[-1] == ("5", 0, 27, 0, 24)


def test_numbers_are_those_that_settings_take_also_within_a_repeat() -> None:
    recipe = Recipe(name="x", network=Network(layers=RESIDUAL))
    rows = summarize(recipe.network, (8, 8, 1), 3).rows
    convs = [row.number for row in rows if row.what.startswith("convolution, 4")]
    assert convs == ["1", "2.1.1", "2.1.4", "2.1.1", "2.1.4"]
    changed = recipe.with_settings(["network.2.1.1.kernel=5"])
    found = summarize(changed.network, (8, 8, 1), 3).rows
    assert {row.number for old, row in zip(rows, found, strict=True) if old.what != row.what} == {
        "2.1.1"
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_the_work_is_what_pytorch_counts_and_names_are_those_of_the_modules(name: str) -> None:
    model, found = build(NETWORKS[name]), summarize(Network(layers=NETWORKS[name]), SHAPE, 3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, SHAPE[2], *SHAPE[:2]))

    assert counter.get_total_flops() == 2 * found.multiply_adds
    assert found.trained == parameter_count(model)
    modules = dict(model.named_modules())
    assert {row.name for row in found.rows if row.name} <= set(modules)


def field(model: NetworkModule, name: str) -> int:
    """Return the side of the square of pixels that change the middle cell of a module's maps, over
    many random images."""
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(name).register_forward_hook(lambda _m, _i, out: seen.append(out))
    pixels = torch.rand(60, SHAPE[2], *SHAPE[:2], generator=Generator().manual_seed(1))
    model(pixels.requires_grad_())
    hook.remove()
    maps = seen[0]
    middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, pixels)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    return int(rows[-1] - rows[0]) + 1


@pytest.mark.parametrize("name", NETWORKS)
def test_receptive_fields_are_where_the_gradient_is_not_zero(name: str) -> None:
    model, found = build(NETWORKS[name]), summarize(Network(layers=NETWORKS[name]), SHAPE, 3)
    with torch.no_grad():  # nothing cancels, and no ReLU is dead
        for weight in model.parameters():
            weight.abs_()
    named = [row for row in found.rows if row.name and len(row.output) == 3]
    named = [row for row in named if not isinstance(model.get_submodule(row.name), nn.LayerNorm)]

    assert len(named) > 5
    assert {row.name: row.sees for row in named} == {r.name: field(model, r.name) for r in named}


def sees(*layers: la.Layer) -> list[int]:
    network = Network(layers=(*layers, la.Dense("classes")))
    return [row.sees for row in summarize(network, (8, 8, 1), 3).rows]


def test_group_norm_and_layer_norm_of_features_see_all() -> None:
    assert sees(la.Conv(4), la.GroupNorm(2), la.Flatten()) == [3, 0, 0, 0]
    assert sees(la.Flatten(), la.LayerNorm()) == [1, 0, 0]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_a_summary_and_its_numbers_are_those_of_settings(name: str) -> None:
    recipe = load_recipe(name)
    shape = (32, 32, 3) if name.startswith("cifar") else (28, 28, 1)
    found = recipe.network.summary(shape, 10)
    top = [row for row in found.rows if row.depth == 0]
    assert [row.number for row in top] == [str(at + 1) for at in range(len(recipe.network.layers))]
    at, dense = next((row.number, row) for row in top if row.name == "dense1")
    units = recipe.with_settings([f'network.{at}.init="he"']).network.layers[int(at) - 1]
    assert isinstance(units, la.Dense) and units.init == "he"
    assert dense.output == ((10,) if units.units == "classes" else (units.units,))
    assert all(row.output[-1] for row in found.rows)


def test_the_text_has_each_layer_once_and_the_sums() -> None:
    found = summarize(Network(layers=RESIDUAL), (8, 8, 1), 3)

    text = str(found)
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["layer", "name"]
    assert len(lines) == 2 + len(found.rows) + 1 + 4
    assert f"{found.trained:,} parameters, {found.fixed} untrained numbers" in text
    assert "2.1.1  conv1" in text and "    convolution, 4 filters of 3×3, same padding" in text
    html = found._repr_html_()
    assert html.count("<tr ") == 1 + len(found.rows)
    assert re.findall(r"<span[^>]*>(2\.1\.1)<", html) == ["2.1.1"] * 2  # at each time


def memory(batch_size: int, moments: int = 2, layers: tuple[la.Layer, ...] = MIXED) -> int:
    found: Summary = summarize(
        Network(layers=layers), SHAPE, 3, batch_size=batch_size, moments=moments
    )
    return found.training_bytes


def test_memory_grows_with_the_batch_and_with_what_the_optimizer_keeps() -> None:
    trained = summarize(Network(layers=MIXED), SHAPE, 3).trained

    assert memory(32, moments=2) - memory(32, moments=1) == 4 * trained
    assert memory(96) - memory(64) == memory(64) - memory(32) > 0
    # Nothing is computed or stored: a batch of a million images costs as little.
    assert memory(1_000_000) > 10**10


STEPS = """
import ctypes, json, sys
from pathlib import Path
import torch
from firstlight.models.catalog import Architecture
from firstlight.recipe import load_recipe

def bytes_of(word):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(word))

def steps(model, batch, shape):
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        pixels = torch.rand(batch, shape[2], *shape[:2])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        scores = model(pixels)
        torch.nn.functional.cross_entropy(scores, torch.zeros(batch, dtype=int)).backward()
        del scores
        optimizer.step()

def build(name, shape):
    network = load_recipe(name).network
    choice = Architecture(network=network, image_shape=shape, classes=10)
    return choice.build(torch.Generator().manual_seed(0))

found = []
for name, batch, *shape in json.loads(sys.argv[1]):
    steps(build(name, shape), 2, shape)  # loads and compiles what is needed
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = bytes_of("VmRSS")
    steps(build(name, shape), batch, shape)
    found.append(bytes_of("VmHWM") - before)
print(json.dumps(found))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the GNU C library is told to give freed memory back at once",
)
def test_memory_is_what_a_process_takes_for_a_step() -> None:
    cases: list[tuple[str, int, int, int, int]] = [
        ("mnist-tutorial", 256, 28, 28, 1),
        ("cifar10-resnet20", 64, 32, 32, 3),
        ("cifar10-mobile", 32, 32, 32, 3),
    ]
    done = subprocess.run(
        [sys.executable, "-c", STEPS, json.dumps(cases)],
        capture_output=True,
        text=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr

    for (name, batch, *sides), taken in zip(cases, json.loads(done.stdout), strict=True):
        height, width, channels = sides
        network = load_recipe(name).network
        found = summarize(network, (height, width, channels), 10, batch_size=batch)
        assert 0.9 < found.training_bytes / taken < 1.1, name


def test_memory_in_bfloat16_is_little_more_than_half() -> None:
    network = load_recipe("cifar10-resnet20").network
    whole, half = (
        summarize(network, (32, 32, 3), 10, batch_size=128, mixed=mixed) for mixed in (False, True)
    )
    assert 0.5 < half.training_bytes / whole.training_bytes < 0.55
    assert "batches of 128 in bfloat16 holds about" in str(half) and "bfloat16" not in str(whole)


def test_memory_of_dropout_counts_and_leaves_the_generator_alone() -> None:
    end = (la.Flatten(), la.Dense("classes"))
    plain = memory(16, layers=(la.Conv(4, padding="same"), *end))
    assert memory(16, layers=(la.Conv(4, padding="same"), la.Dropout(0.5), *end)) > plain
    before = torch.random.get_rng_state()
    memory(16, layers=(la.Dropout(0.5), *end))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("shape", "classes", "said"),
    [
        ((28, 28), 10, "image_shape"),
        ((28, 28, 0), 10, "image_shape"),
        ((28.0, 28, 1), 10, "image_shape"),
        ((28, 28, 1), 0, "classes"),
        ((3, 3, 1), 10, "layer 2"),
    ],
)
def test_what_has_no_summary_is_told(shape: tuple[int, ...], classes: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_recipe("mnist-tutorial").network.summary(shape, classes)
