"""Recipes from strangers: the work that a short text can cause is limited, and refused with a
message."""

import resource
from typing import Any

import pytest
from torch import Generator

from firstlight.errors import UserError
from firstlight.layers import Conv, Residual
from firstlight.layers.layer import Shape
from firstlight.layers.network import MOST_NESTED
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.plain import read_json, write_json
from firstlight.recipe import Recipe, parse_recipe
from firstlight.runs.checkpoint import SavedModel, load_model, save_model
from firstlight.runs.folder import RunFolder

CONV = '{ conv = 4, padding = "same" }'
END = '{ flatten = true }, { dense = "classes" }'
HEAD = '{ global-max-pool = true }, { dense = "classes" }'


def recipe(layers: str) -> Recipe:
    return parse_recipe(f'name = "x"\n[network]\nlayers = [{layers}]', source="x.toml")


def architecture(layers: str, side: int = 8) -> Architecture:
    return Architecture(network=recipe(layers).network, image_shape=(side, side, 1), classes=10)


def nested(depth: int, block: str) -> str:
    layers = CONV
    for _ in range(depth):
        layers = block.replace("IN", layers)
    return layers


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ("{ repeat = 1000, layers = [{ branches = [[], []] }] }", "at most 1,000 written out"),
        (
            "{ repeat = 1000, layers = [{ repeat = 1000, layers = "
            '[{ branches = [[], []], join = "add" }] }] }',
            "at most 1,000 written out",
        ),
        (f'{{ branches = [{"[], " * 2000}], join = "add" }}', "at most 1,000 written out"),
        (nested(1000, "{ residual = [IN] }"), "nested more than 64 deep"),
        (nested(MOST_NESTED, "{ residual = [IN] }"), f"nested at most {MOST_NESTED} deep"),
        (nested(MOST_NESTED, "{ branches = [[IN], []] }"), f"nested at most {MOST_NESTED} deep"),
    ],
)
def test_a_bomb_of_layers_is_refused_before_anything_is_built(layers: str, wanted: str) -> None:
    with pytest.raises(UserError, match=wanted):
        recipe(f"{layers}, {END}")


@pytest.mark.parametrize("layers", ["{ repeat = 200, layers = [{ branches = [[], []] }] }"])
def test_channels_that_double_without_end_are_refused(layers: str) -> None:
    with pytest.raises(UserError, match=r"layer 1\.\d+ .*more than 2,147,483,648 numbers"):
        architecture(f"{layers}, {END}").shapes()


def test_each_block_asks_the_layers_in_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, output = [], Conv.output

    def counted(layer: Conv, shape: Shape) -> Shape:
        asked.append(layer)
        return output(layer, shape)

    monkeypatch.setattr(Conv, "output", counted)
    layers: tuple[Any, ...] = (Conv(4, padding="same"),)
    for _ in range(MOST_NESTED - 1):
        layers = (Residual(layers),)
    layers[0].output((8, 8, 4))
    assert len(asked) == 1


@pytest.mark.parametrize("block", ["{ residual = [IN] }", "{ branches = [[IN], []] }"])
def test_the_deepest_network_comes_back_from_its_own_files(block: str, tmp_path: Any) -> None:
    one = architecture(f"{nested(MOST_NESTED - 1, block)}, {END}")
    deep = recipe(f"{nested(MOST_NESTED - 1, block)}, {END}")
    assert parse_recipe(deep.to_toml(), source="again") == deep
    assert read_json(write_json({"recipe": {"of": deep.to_table()}}))
    folder = RunFolder(tmp_path)
    pixels = Preprocess(height=8, width=8, channels=1, mean=(0.0,), std=(1.0,))
    saved = SavedModel(
        model=one.build(Generator()),
        architecture=one,
        preprocess=pixels,
        class_names=tuple("abcdefghij"),
    )
    save_model(folder, saved)
    assert load_model(folder).architecture == one


@pytest.mark.parametrize(
    "layers",
    [
        "{ residual = [{ whiten = 2, kernel = 1 }] }",
        "{ branches = [[{ whiten = 8 }], [{ conv = 8, kernel = 2 }]] }",
        "{ repeat = 2, layers = [{ whiten = 2, kernel = 1 }] }",
        f"{CONV}, {{ whiten = 2, kernel = 1 }}",
    ],
)
def test_whitening_that_would_see_no_images_is_refused(layers: str) -> None:
    with pytest.raises(UserError, match="must be the first layer, outside any block"):
        architecture(f"{layers}, {END}").shapes()


@pytest.mark.parametrize(
    "layers",
    [
        f"{{ conv = 8, kernel = 8 }}, {{ group-norm = 8 }}, {HEAD}",
        f"{{ conv = 1 }}, {{ layer-norm = true }}, {END}",
        '{ flatten = true }, { dense = 1 }, { layer-norm = true }, { dense = "classes" }',
    ],
)
def test_a_norm_over_one_number_is_refused(layers: str) -> None:
    with pytest.raises(UserError, match="only one number, which would become 0"):
        architecture(layers).shapes()


def test_smaller_images_that_two_ways_round_differently_are_told_before_training() -> None:
    shrinks = f"{{ residual = [{{ max-pool = 2 }}, {CONV}] }}"
    odd = architecture(f"{CONV}, {shrinks}, {HEAD}", side=28)
    odd.check_takes(20, 20)
    with pytest.raises(UserError, match=r"of 21×21 pixels, .* have different sizes"):
        odd.check_takes(21, 21)


@pytest.mark.parametrize("norm", ["batch-norm = true", "layer-norm = true"])
def test_shapes_of_a_vast_norm_take_no_memory(norm: str) -> None:
    vast = architecture(
        f"{{ conv = 16384, kernel = 1 }}, {{ flatten = true }}, {{ {norm} }}, "
        '{ dense = 16 }, { dense = "classes" }',
        side=256,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 2**30 in {size for shape in vast.shapes().values() for size in shape}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, "in KiB"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"2"', "format must be a whole number, such as format = 2, not '2'"),
        ("2.5", "a whole number"),
        ("true", "a whole number"),
        ("[2]", "a whole number"),
        ("3", "this recipe has format 3, but this firstlight reads 1 to 2"),
        ("0", "this recipe has format 0"),
    ],
)
def test_another_format_is_told_apart_from_one_that_is_none(written: str, said: str) -> None:
    with pytest.raises(UserError) as told:
        parse_recipe(f'name = "x"\nformat = {written}', source="x.toml")
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[augment]\nrotate = 10", "augment: wanted a list of tables, such as [{ rotate = … }]"),
        ("augment = 3", "augment: wanted a list of tables, such as [{ rotate = … }], got 3"),
        ("[network]\nlayers = { conv = 3 }", "layer: wanted a list of tables, such as [{ conv = …"),
        (
            "format = 2\n[model]\ndense = 64",
            "unknown key model; the network is now a list of layers",
        ),
    ],
)
def test_what_is_no_list_says_how_one_is_written(text: str, said: str) -> None:
    with pytest.raises(UserError) as told:
        parse_recipe(f'name = "x"\n{text}', source="x.toml")
    assert said in str(told.value)
