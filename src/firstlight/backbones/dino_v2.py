"""DINOv2, small: a vision transformer trained on 142 million pictures without labels (Oquab et al.
2023).

Its position embedding was published for images of 518 pixels. It is resized to 224 once, when the
weights are converted. DINOv2 has no last layer; the one here starts at zero.
"""

from firstlight.backbones.backbone import Backbone, HubFile, Naming
from firstlight.layers.attention import Attention, ClassToken, Tokens
from firstlight.layers.blocks import Repeat, Residual
from firstlight.layers.conv import Conv
from firstlight.layers.dense import Dense
from firstlight.layers.layer import Layer
from firstlight.layers.norm import LayerNorm
from firstlight.layers.rescale import LayerScale

BLOCKS = 12
FEATURES = 384
PATCH = 14
"""Side of a patch, in pixels."""


def layers() -> tuple[Layer, ...]:
    """Return the layers for images of 224×224×3: a patch embedding, 12 pre-norm transformer blocks
    with layer scale, and the class token."""
    norm = LayerNorm(epsilon=1e-6)
    look = (norm, Attention(6), LayerScale())
    think = (norm, Dense(4 * FEATURES, activation="gelu"), Dense(FEATURES), LayerScale())
    block = (Residual(look, activation="none"), Residual(think, activation="none"))
    patches = Conv(FEATURES, kernel=PATCH, stride=PATCH)
    return (patches, Tokens(), Repeat(BLOCKS, block), norm, ClassToken(), Dense("classes"))


def _transformers() -> tuple[str, ...]:
    inner = ["norm1", *(f"attention.attention.{one}" for one in ("query", "key", "value"))]
    inner += ["attention.output.dense", "layer_scale1", "norm2", "mlp.fc1", "mlp.fc2"]
    inner += ["layer_scale2"]
    blocks = [f"encoder.layer.{at}.{one}" for at in range(BLOCKS) for one in inner]
    return ("embeddings.patch_embeddings.projection", "embeddings", *blocks, "layernorm")


DINO_V2_SMALL = Backbone(
    name="dinov2_small",
    title="DINOv2-S/14, self-supervised, without registers",
    paper="Oquab et al. 2023",
    layers=layers,
    side=224,
    classes=0,
    top1=81.1,
    top1_source="DINOv2's README: a linear classifier on frozen features, ViT-S/14 distilled",
    parameters=21_628_800,
    multiply_adds=6_123_561_984,
    note=(
        "Trained without labels on pictures from the web that are similar to ImageNet and other "
        "data sets. ImageNet itself is for non-commercial research. Decide yourself whether "
        "that matters to you."
    ),
    hub=HubFile(
        repository="facebook/dinov2-small",
        revision="ed25f3a31f01632728cabb09d1542f84ab7b0056",
        file="model.safetensors",
        sha256="ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
        megabytes=88,
    ),
    namings=(
        Naming(
            publisher="Transformers",
            layers=_transformers(),
            renamed=(
                ("tokens.class_token", "cls_token"),
                ("tokens.positions", "position_embeddings"),
                ("layer_scale.weight", "lambda1"),
            ),
            unused=("embeddings.mask_token",),
        ),
    ),
)
