"""Residual networks: He et al. 2015, arXiv:1512.03385."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.models.inputs import at_least, images
from mlgym_jax.models.mlp import output_size

# depth -> (blocks of each stage, whether they are bottlenecks): table 1 of the paper
_STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# He et al. 2015, arXiv:1502.01852
_conv = functools.partial(
    nn.Conv, use_bias=False, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal")
)


def padded(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding on both sides that a kernel of an odd size needs; SAME pads one side alone at strides."""
    return (size // 2, size // 2), (size // 2, size // 2)


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 to four times the width, added to the input or its 1x1 projection."""

    width: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        # The branch adds nothing at first: Goyal et al. 2017, arXiv:1706.02677, section 5.1.
        last_norm = functools.partial(norm, scale_init=nn.initializers.zeros)
        out, strides = self.width * (4 if self.bottleneck else 1), (self.stride, self.stride)
        if self.bottleneck:
            y = nn.relu(norm(name="norm_0")(_conv(self.width, (1, 1), name="conv_0")(x)))
            y = _conv(self.width, (3, 3), strides, padding=padded(3), name="conv_1")(y)
            y = nn.relu(norm(name="norm_1")(y))
            y = last_norm(name="norm_2")(_conv(out, (1, 1), name="conv_2")(y))
        else:
            y = _conv(self.width, (3, 3), strides, padding=padded(3), name="conv_0")(x)
            y = nn.relu(norm(name="norm_0")(y))
            y = last_norm(name="norm_1")(_conv(out, (3, 3), padding=padded(3), name="conv_1")(y))
        if x.shape != y.shape:
            x = norm(name="projection_norm")(_conv(out, (1, 1), strides, name="projection")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem, stages of residual blocks that halve the image and double the width, the mean, and a dense layer."""

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int
    stem: str
    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = images("resnet", x)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="stem_norm")
        if self.stem == "imagenet":
            x = nn.relu(norm(_conv(self.width, (7, 7), (2, 2), padding=padded(7), name="stem")(x)))
            around: Any = padded(3)  # declared as a word, such as SAME, alone
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=around)
        else:
            x = nn.relu(norm(_conv(self.width, (3, 3), padding=padded(3), name="stem")(x)))
        for stage, number in enumerate(self.blocks):
            for place in range(number):
                stride = 2 if stage > 0 and place == 0 else 1
                x = Residual(self.width * 2**stage, stride, self.bottleneck, name=f"stage_{stage}_{place}")(x, train)
        return nn.Dense(self.num_outputs, name="head")(x.mean(axis=(1, 2)))


@register("model", "resnet", needs=("dataset",))
def resnet(
    dataset: Any,
    *,
    depth: Literal[18, 34, 50, 101, 152] = 18,
    width: int = 64,
    stem: Literal["small", "imagenet"] = "small",
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a ResNet for images float[batch, height, width, channels].

    Of 50 layers on, blocks are bottlenecks with the stride at the 3x3 convolution, as in torchvision. The last norm of
    each block begins at 0.

    Args:
        dataset: says the number of classes.
        depth: layers; width: channels of the first stage, 64 in the paper.
        stem: `imagenet`, a 7x7 convolution and pooling, which make the image 4 times smaller; `small`, a 3x3
            convolution, for images of 8 to 64 pixels.
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: sizes below 1; when traced, inputs that are no images.
    """
    at_least(1, width=width)
    blocks, bottleneck = _STAGES[depth]
    return ResNet(blocks, bottleneck, width, stem, output_size(dataset, num_outputs))
