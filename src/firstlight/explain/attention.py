"""Where a vision transformer's class token attends. Axes: N images, T tokens, F features, h heads,
H height, W width."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.explain.network import answering, layer_of, model_input
from firstlight.layers import Attention, ClassToken, Layer, Tokens
from firstlight.pixels import Preprocess

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassAttention:
    """The class token's attention to each position, in the last block (Caron et al. 2021)."""

    heads_hHW: Float32Array
    """float32, heads × rows × columns of patches: attention weights of each head. They sum to 1
    minus the weight that the class token gives itself."""

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        _, height, width = self.heads_hHW.shape
        return height, width

    def over(self, height: int, width: int) -> Float32Array:
        """Return the mean of the heads, float32 height × width, smoothly resized to the image."""
        mean_11HW = torch.from_numpy(self.heads_hHW).mean(dim=0)[None, None]
        whole = nn.functional.interpolate(mean_11HW, (height, width), mode="bilinear")
        found: Float32Array = whole[0, 0].numpy()
        return found


def class_attention(
    model: nn.Module, preprocess: Preprocess, image_HWC: npt.NDArray[np.uint8]
) -> ClassAttention | None:
    """Return the class token's row of softmax(q·k / √width) in the last attention before it; None
    if the network has no such layers. If the model averages over views, only the image itself is
    used."""
    heard: list[tuple[nn.Module, Tensor]] = []
    hooks = _listen(model, heard)
    try:
        with answering(model), torch.inference_mode():
            model(model_input(model, preprocess, image_HWC[None]))
    finally:
        for hook in hooks:
            hook.remove()
    return _last(heard)


def _listen(model: nn.Module, heard: list[tuple[nn.Module, Tensor]]) -> list[Any]:
    """Record the first input of each layer of a transformer, until the returned hooks are
    removed."""
    mine, kinds = threading.get_ident(), (Tokens, Attention, ClassToken)

    def note(module: nn.Module, given: Any) -> None:
        first = all(module is not other for other, _ in heard)
        if threading.get_ident() == mine and first:  # a service answers other requests meanwhile
            heard.append((module, given[0]))

    modules = [one for one in model.modules() if isinstance(layer_of(one), kinds)]
    return [one.register_forward_pre_hook(note) for one in modules]


def _last(heard: list[tuple[nn.Module, Tensor]]) -> ClassAttention | None:
    kinds: list[Layer | None] = [layer_of(module) for module, _ in heard]
    ends = [at for at, kind in enumerate(kinds) if isinstance(kind, ClassToken)]
    if not ends:
        return None
    before = range(ends[-1])
    tokens = [at for at in before if isinstance(kinds[at], Tokens)]
    looks = [at for at in before if isinstance(kinds[at], Attention)]
    if not tokens or not looks or looks[-1] < tokens[-1]:
        return None
    height, width = heard[tokens[-1]][1].shape[-2:]
    module, tokens_1TF = heard[looks[-1]]
    shares_hTT = _shares(module, tokens_1TF)
    return ClassAttention(
        heads_hHW=shares_hTT[:, 0, 1:].reshape(-1, height, width).float().cpu().numpy()
    )


@torch.inference_mode()
def _shares(module: nn.Module, tokens_1TF: Tensor) -> Tensor:
    """Return h×T×T: the attention weights between tokens, as the module computes them."""
    choice = layer_of(module)
    assert isinstance(choice, Attention)
    queries, keys = (
        module.get_submodule(name)(tokens_1TF).unflatten(2, (choice.heads, -1)).transpose(1, 2)
        for name in ("query", "key")
    )
    scores_1hTT = queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5
    shares_hTT: Tensor = scores_1hTT.softmax(dim=3)[0]
    return shares_hTT
