"""Where a class token attends, compared with softmax(QKᵀ/√d) in NumPy."""

import numpy as np
import pytest
import torch
from tests.explain.networks import PREPROCESS, SHAPE, images
from torch import Generator, nn

from firstlight import layers as la
from firstlight.explain.attention import class_attention
from firstlight.layers.network import Network
from firstlight.models.catalog import Architecture

IMAGE = images(1)[0]
ROWS, COLUMNS, HEADS, WIDTH = 5, 6, 2, 4
FEATURES = HEADS * WIDTH
END = (la.LayerNorm(), la.ClassToken(), la.Dense("classes"))


def transformer(*, views: str = "one", end: tuple[la.Layer, ...] = END) -> nn.Module:
    """Return a network like DINOv2: two pre-norm blocks with layer scale."""
    norm = la.LayerNorm(epsilon=1e-6)
    look = (norm, la.Attention(HEADS), la.LayerScale())
    think = (norm, la.Dense(4 * FEATURES, activation="gelu"), la.Dense(FEATURES), la.LayerScale())
    block = (la.Residual(look, activation="none"), la.Residual(think, activation="none"))
    patches = la.Conv(FEATURES, kernel=4, stride=4)
    layers = (patches, la.Tokens(), la.Repeat(2, block), *end)
    model = Architecture(
        network=Network(layers=layers, views=views), image_shape=SHAPE, classes=5
    ).build(Generator().manual_seed(1))
    rng = Generator().manual_seed(2)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "query" in name or "key" in name:  # heads that attend more to some positions
                weights.copy_(torch.randn(weights.shape, generator=rng))
            elif "positions" in name or "layer_scale" in name:
                weights.add_(torch.randn(weights.shape, generator=rng))
    return model.eval()


def by_hand(model: nn.Module) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return heads × rows × columns: the attention of the last block's class token."""
    seen: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {}

    def keep(name: str) -> None:
        def hook(_module: nn.Module, _given: object, result: torch.Tensor) -> None:
            seen.setdefault(name, result[0].double().numpy())

        model.get_submodule(name).register_forward_hook(hook)

    last = "residual3.layers"
    keep(f"{last}.layer_norm1")
    with torch.no_grad():
        model(PREPROCESS(torch.from_numpy(IMAGE[None])))
    tokens_TF = seen[f"{last}.layer_norm1"]
    weights = {name: w.double().numpy() for name, w in model.state_dict().items()}
    heads = []
    for head in range(HEADS):
        mine = slice(head * WIDTH, (head + 1) * WIDTH)
        queries_Tw, keys_Tw = (
            tokens_TF @ weights[f"{last}.attention1.{name}.weight"][mine].T
            + weights[f"{last}.attention1.{name}.bias"][mine]
            for name in ("query", "key")
        )
        scores_T = queries_Tw[0] @ keys_Tw.T / np.sqrt(WIDTH)
        raised_T = np.exp(scores_T - scores_T.max())
        heads.append((raised_T / raised_T.sum())[1:].reshape(ROWS, COLUMNS))
    return np.stack(heads)


@pytest.mark.parametrize("views", ["one", "mirror"])
def test_attention_is_the_class_tokens_softmax_in_the_last_block(views: str) -> None:
    model = transformer(views=views)
    found = class_attention(model, PREPROCESS, IMAGE)
    assert found is not None and found.cells == (ROWS, COLUMNS)
    np.testing.assert_allclose(found.heads_hHW, by_hand(model), atol=1e-6)
    assert found.heads_hHW.std() > 0.01, "heads that look at all places alike would show nothing"


def test_attention_over_the_image_is_the_mean_of_heads_where_the_patch_is() -> None:
    model = transformer()
    found = class_attention(model, PREPROCESS, IMAGE)
    assert found is not None
    large_HW = found.over(4 * ROWS, 4 * COLUMNS)
    mean_HW = by_hand(model).mean(axis=0)
    # Bilinear: a corner has its patch's value. The four pixels in the centre of a patch have its
    # value and a little of the neighbouring patches'.
    assert large_HW[0, 0] == pytest.approx(mean_HW[0, 0], abs=1e-6)
    assert large_HW[-1, -1] == pytest.approx(mean_HW[-1, -1], abs=1e-6)
    assert (
        np.unravel_index(large_HW.argmax(), large_HW.shape)[0] // 4 == mean_HW.argmax() // COLUMNS
    )


def test_networks_without_a_class_token_that_looks_have_no_attention() -> None:
    flat = transformer(end=(la.Flatten(), la.Dense("classes")))
    plain = Architecture(
        network=Network(layers=(la.Conv(4), la.Flatten(), la.Dense("classes"))),
        image_shape=SHAPE,
        classes=5,
    ).build(Generator().manual_seed(1))
    for model in (flat, plain):
        assert class_attention(model, PREPROCESS, IMAGE) is None
