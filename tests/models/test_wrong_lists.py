"""Invalid networks: each error gives the layer's number, its input, and what to do."""

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, nn

import firstlight as fl
from firstlight import layers as l
from firstlight.layers import Layer
from firstlight.layers.network import Network
from firstlight.models.catalog import Architecture
from firstlight.recipe import parse_recipe

END: tuple[Layer, ...] = (l.Flatten(), l.Dense("classes"))


def told(*some: Any) -> str:
    with pytest.raises(fl.UserError) as caught:
        Architecture(network=Network(layers=some), image_shape=(28, 20, 1), classes=10).build(
            Generator()
        )
    return str(caught.value).removeprefix("the network does not fit images of 28×20×1: ")


@pytest.mark.parametrize(
    ("some", "wanted"),
    [
        (
            (l.Conv(8), l.MaxPool(4), l.MaxPool(4), l.MaxPool(4), *END),
            "layer 4 (max-pooling) gets maps of 1×1×8: its window of 4×4 pixels is larger",
        ),
        (
            (l.Conv(8, kernel=21), *END),
            "layer 1 (convolution) gets maps of 28×20×1: its window of 21×21 pixels is larger; use",
        ),
        ((l.Conv(8, kernel=5, dilation=5), *END), "its window of 21×21 pixels is larger"),
        ((l.Conv(8), l.Dense(64), *END), "layer 2 (dense) gets maps of 26×18×8: it needs features"),
        ((l.Conv(8), l.Dense(64), *END), "put flatten, global-average-pool or global-max-pool"),
        ((l.Conv(8), l.Dense(64), *END), "write a convolution with kernel = 1 instead"),
        ((l.Flatten(), l.Conv(8), *END), "layer 2 (convolution) gets 560 features: it needs maps"),
        ((l.GlobalMaxPool(), l.MaxPool(), *END), "layer 2 (max-pooling) gets 1 feature: it needs"),
        ((l.Conv(8, groups=3), *END), "it has 3 groups, and 1 channel cannot be split into 3"),
        ((l.Conv(9), l.Conv(8, depthwise=True), *END), "makes 9 groups, and 8 filters cannot be"),
        (
            (l.Conv(9), l.GroupNorm(2), *END),
            "layer 2 (group norm) gets maps of 26×18×9: 9 channels",
        ),
        (
            (l.Conv(6), l.SqueezeExcite(8), *END),
            "layer 2 (squeeze-and-excitation) gets maps of 26×18×6: 6 channels over a",
        ),
        (
            (l.Conv(6), l.Attention(2), *END),
            "layer 2 (self-attention) gets maps of 26×18×6: it needs tokens",
        ),
        (
            (l.Conv(6), l.Tokens(), l.Attention(4), *END),
            "layer 3 (self-attention) gets 469 tokens of 6 features: 6 features cannot be split",
        ),
        ((l.Flatten(), l.Tokens(), *END), "layer 2 (tokens) gets 560 features: it needs maps"),
        ((l.Flatten(), l.ClassToken(), l.Dense("classes")), "it needs tokens; put it after"),
        ((l.Conv(6), l.Tokens(), l.BatchNorm(), *END), "for tokens use layer-norm"),
        ((l.Conv(6), l.Tokens(), l.GlobalMaxPool(), *END), "gets 469 tokens of 6 features: it nee"),
        ((l.Conv(6), l.Tokens(), l.Dense("classes")), "gives 469 tokens of 10 features"),
        (
            (l.Residual([l.Conv(8)]), *END),  # type: ignore[arg-type]
            "layer 1 (residual block) gets maps of 28×20×1: its layers give maps of 26×18×8, and "
            "no 1×1 convolution brings maps of 28×20×1 to that",
        ),
        (
            (l.Flatten(), l.Residual([l.Dense(5)]), l.Dense("classes")),  # type: ignore[arg-type]
            "its layers give 5 features, which cannot be added to 560 features",
        ),
        (
            (l.Branches([[l.Conv(8)], [l.Conv(4)]], join="add"), *END),  # type: ignore[arg-type]
            "of the same shape to be added; branch 1 gives maps of 26×18×8, branch 2 gives maps",
        ),
        (
            (l.Branches([[l.Conv(8)], [l.MaxPool(2)]]), *END),  # type: ignore[arg-type]
            "of the same height and width to be concatenated; branch 1 gives maps of 26×18×8, br",
        ),
        (
            (l.Conv(8), l.Residual([l.Conv(8, padding="same"), l.Dense(3)]), *END),  # type: ignore[arg-type]
            "layer 2.2 (dense) gets maps of 26×18×8",
        ),
        (
            (l.Conv(8), l.Branches([[], [l.Conv(8), l.Dense(3)]]), *END),  # type: ignore[arg-type]
            "layer 2.2.2 (dense) gets maps of 24×16×8",
        ),
        (
            (l.Conv(8), l.Repeat(5, layers=(l.Conv(4), l.MaxPool(2))), *END),
            "layer 2.2 (max-pooling) gets maps of 3×1×4 (time 3 of 5): its window of 2×2",
        ),
        ((l.Conv(8), l.Whiten(8), *END), "a whitening layer must be the first"),
        (
            (l.Flatten(), l.Dense("classes"), l.Dense(64)),
            'layer 3 (dense) comes after dense = "classes", and layers must end with',
        ),
        ((l.Conv(8), l.Flatten(), l.Dense(10)), 'dense = "classes", which gives the score of each'),
        ((l.Conv(8), l.Flatten(), l.Dense(10)), "write it at the end, instead of dense = 10"),
        ((l.Flatten(), l.Dense("classes"), l.Dense("classes")), "it occurs 2 times; keep the last"),
        ((l.Flatten(), l.Residual((l.Dense("classes"),))), "it is inside another layer"),
        (
            (l.Flatten(), l.Dense("classes"), l.Activation("relu")),
            "layer 3 (activation) comes after",
        ),
        ((), "layers must be a list of layers, and it is empty"),
    ],
)
def test_a_list_that_does_not_fit_is_told_by_the_layers_number(some: Any, wanted: str) -> None:
    assert wanted in told(*some)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{ residual = [{ conv = 8 }, { convv = 3 }] }", "layer 1.2 has convv, but no word that"),
        ("{ branches = [[], [{ conv = 8, kernel = 0 }]] }", "layer 1.2.1 (conv): kernel must be"),
        (
            "{ conv = 8 }, { repeat = 2, layers = [{ residual = [{ conv = 'x' }] }] }",
            "layer 2.1.1 (conv): filters must be a whole number, not 'x'",
        ),
        ("{ residual = [{ conv = 8 }, 3] }", "layer 1.2 must be a table"),
        (
            "{ residual = [] }",
            "layer 1 (residual): layers must be a list of layers, and it is empty",
        ),
        ("{ residual = 3 }", "such as [fl.layers.Conv(32)], in a recipe [{ conv = 32 }], not 3"),
        ("{ branches = 2 }", "in a recipe [[{ conv = 8 }], [{ conv = 16 }]], not 2"),
        (
            "{ conv = 3, padding = 1 }",
            "layer 1 (conv): padding cannot be 1; choose from valid, same",
        ),
        ("{ conv = 3, padding = [1] }", "padding cannot be [1]; choose from valid, same"),
        ("{ conv = 3, activation = 'ReLU' }", "activation cannot be 'ReLU'; did you mean relu?"),
        ("{ conv = 3, activation = true }", "activation cannot be True; choose from none, relu"),
        (
            "{ flatten = true }, { dense = 'classes' }, { dense = 10 }",
            'layer 3 (dense) comes after dense = "classes"',
        ),
        (
            "{ branches = [{ conv = 3 }] }",
            "layer 1 (branches): branches must be a list of two lists",
        ),
        ("{ repeat = 2 }", "layer 1 (repeat): layers must be a list of layers, and it is empty"),
        ("{ conv = 8, kernel = [3, 3] }", "kernel must be one whole number, used for every"),
        ("{ conv = 8, filters = 3 }", "filters is the value of conv, so it is given twice"),
        ("{ conv = 8, dense = 3 }", "layer 1 has both conv and dense; write them as two"),
        ("{ relu = true }", 'layer 1 has relu, which is unknown; write activation = "relu"'),
        ("{ Conv2D = 32 }", "did you mean conv?"),
        ("{ maxpooling2d = 2 }", "did you mean max-pool?"),
        ("{ dense = 10, activation = 'softmax' }", "leave out softmax"),
        ("{}", "layer 1 is empty; the words are conv, dense"),
    ],
)
def test_a_wrong_word_in_a_file_is_told_by_the_layers_number(text: str, wanted: str) -> None:
    with pytest.raises(fl.UserError) as caught:
        parse_recipe(f'name="x"\n[network]\nlayers=[{text}]', source="mine.toml")
    assert str(caught.value).startswith("mine.toml: ") and wanted in str(caught.value)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: l.Conv("32"), "filters must be a whole number, not '32'"),  # type: ignore[arg-type]
        (lambda: l.Conv(32, 3), "Conv takes filters without a name, got 2 values. Name the"),  # type: ignore[call-arg]
        (lambda: l.Conv(32, kernel=(3, 3)), "kernel must be one whole number, used for"),  # type: ignore[arg-type]
        (lambda: l.MaxPool((2, 2)), "size must be one whole number, used for every"),  # type: ignore[arg-type]
        (lambda: l.Conv(32, kernal=3), "Conv has no option 'kernal'; did you mean kernel?"),  # type: ignore[call-arg]
        (lambda: l.Dense(), "Dense needs units, such as Dense(64)"),  # type: ignore[call-arg]
        (lambda: l.Residual(), "Residual needs layers, such as Residual([Conv(32"),  # type: ignore[call-arg]
        (lambda: l.Branches(join="add"), "Branches needs branches, such as Branches([["),  # type: ignore[call-arg]
        (lambda: fl.Network(END), "Name the others, such as Network(layers=[Flat"),  # type: ignore[call-arg]
        (lambda: fl.Network(layer=END), "Network has no option 'layer'; did you mean layers?"),  # type: ignore[call-arg]
        (lambda: fl.Recipe(), 'Recipe needs name, such as Recipe(name="mine")'),  # type: ignore[call-arg]
        (lambda: fl.Recipe("mine"), 'such as Recipe(name="mine")'),  # type: ignore[call-arg]
        (lambda: l.Conv(3, filters=3), "Conv got filters twice"),  # type: ignore[misc]
        (lambda: l.Residual(l.Conv(3)), "layers must be a list of layers; write [Conv(3)]"),  # type: ignore[arg-type]
        (lambda: l.Residual([l.Conv]), "number 1 is the class Conv; write Conv(...)"),  # type: ignore[arg-type]
        (lambda: l.Branches([l.Conv(3), l.Conv(4)]), "must be a list of two lists of layers"),  # type: ignore[arg-type]
        (lambda: l.Repeat([l.Conv(3)]), "repeat takes the number of times first"),  # type: ignore[arg-type]
        (lambda: l.Activation("softmax"), "leave out softmax"),
        (lambda: fl.Adam(lr=0.1), "Adam has no option 'lr'; it has learning_rate"),  # type: ignore[call-arg]
        (lambda: fl.SGD("0.1"), "learning_rate must be a number, not '0.1'"),  # type: ignore[arg-type]
        (lambda: fl.SGD(0.1, 0.9), "SGD takes learning_rate without a name, got 2"),  # type: ignore[call-arg]
        (lambda: fl.augment.Rotate((-5, 5)), "degrees must be one number, used for every"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_value_in_python_says_what_is_taken(make: Any, wanted: str) -> None:
    with pytest.raises(fl.UserError, match=re.escape(wanted)):
        make()


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (
            {"network": [nn.Flatten(), nn.Linear(64, 2)]},
            "number 1 is Flatten of torch, which is not",
        ),
        ({"network": [l.Flatten, l.Dense("classes")]}, "number 1 is the class Flatten; write Fl"),
        (
            {"network": [l.Flatten(), [l.Dense("classes")]]},
            "number 2 is a list, [Dense('classes')]",
        ),
        ({"network": l.Conv(3)}, "network must be a list of layers; write [Conv(3)]"),
        ({"network": l.Conv}, "network must be a list of fl.layers, or a function"),
        ({"network": fl.SGD(0.1)}, "network must be a list of fl.layers, or a function"),
        ({"network": []}, "network must be a list of layers, and it is empty"),
        ({"augment": [fl.augment.Rotate]}, "number 1 is the class Rotate; write Rotate(...)"),
        ({"augment": fl.augment.Rotate(3)}, "augment must be a list of augmentations; write [Rot"),
        ({"augment": ["rotate"]}, "number 1 is 'rotate'"),
        ({"augment": [l.Conv(3)]}, "number 1 is Conv(3), which is of another kind"),
        ({"optimizer": "adam"}, "write optimizer=fl.Adam()"),
        ({"optimizer": fl.Adam}, "not the class Adam; write Adam(...)"),
        ({"optimizer": torch.optim.Adam}, "not the class Adam"),
        ({"optimizer": fl.Cosine()}, "not Cosine(), which is of another kind"),
        ({"schedule": "one-cycle"}, "write schedule=fl.OneCycle()"),
        ({"schedule": 0.1}, "schedule must be a value such as fl.OneCycle(), not 0.1"),
    ],
)
def test_a_wrong_part_of_a_training_is_told(part: dict[str, Any], wanted: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    with pytest.raises(fl.UserError, match=re.escape(wanted)):
        fl.train((images, np.arange(20) % 2), quiet=True, **part)


def test_numpys_numbers_are_numbers_and_are_written_as_plain_ones() -> None:
    assert repr(l.Conv(np.int64(8), kernel=np.int8(5))) == "Conv(8, kernel=5)"  # type: ignore[arg-type]
    assert repr(fl.SGD(np.float64(0.5))) == repr(fl.SGD(np.float32(0.5))) == "SGD(0.5)"  # type: ignore[arg-type]
    assert repr(l.Dense(np.int32(7))) == "Dense(7)"  # type: ignore[arg-type]


def test_what_an_error_gives_as_an_example_can_be_typed_in() -> None:
    for kind in (l.Residual, l.Branches, Network, fl.Recipe):
        value = eval(kind.example, {**vars(l), "Network": Network, "Recipe": fl.Recipe})
        assert type(value) is kind
        assert copy.deepcopy(value) == value
        assert pickle.loads(pickle.dumps(value)) == value
    for words in l.Dense.example.removesuffix(" for the last layer").split(", or "):
        assert isinstance(eval(words, dict(vars(l))), l.Dense)
