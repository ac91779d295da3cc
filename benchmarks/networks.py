"""The networks of the benchmarks, as plain Flax modules."""

import functools

import jax.numpy as jnp
from flax import linen as nn


class MLP(nn.Module):
    features: tuple
    num_outputs: int

    @nn.compact
    def __call__(self, x):
        for width in self.features:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.num_outputs)(x)


class CNN(nn.Module):
    """3x3 convolutions: padded and pooled each, or `valid`, pooled once and with a hidden layer of 128."""

    features: tuple
    num_outputs: int
    valid: bool = False
    im2col: bool = False

    @nn.compact
    def __call__(self, x):
        convolution = Patches if self.im2col else functools.partial(nn.Conv, kernel_size=(3, 3))
        for width in self.features:
            x = nn.relu(convolution(width, padding="VALID" if self.valid else "SAME")(x))
            x = x if self.valid else nn.max_pool(x, (2, 2), strides=(2, 2))
        if self.valid:
            x = nn.relu(nn.Dense(128)(nn.max_pool(x, (2, 2), strides=(2, 2)).reshape(len(x), -1)))
        return nn.Dense(self.num_outputs)(x.reshape(len(x), -1))


class Patches(nn.Module):
    """A 3x3 convolution as a product of matrices."""

    features: int
    padding: str

    @nn.compact
    def __call__(self, x):
        if self.padding == "SAME":
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = (size - 2 for size in x.shape[1:3])
        windows = [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return nn.Dense(self.features)(jnp.concatenate(windows, axis=-1))


class Transformer(nn.Module):
    """A causal transformer of tokens int[batch, length]: blocks of attention and a hidden layer, normed before."""

    vocabulary: int
    width: int
    depth: int
    heads: int

    @nn.compact
    def __call__(self, tokens):
        places = self.param("places", nn.initializers.normal(0.02), (tokens.shape[1], self.width))
        x = nn.Embed(self.vocabulary, self.width)(tokens) + places
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.depth):
            x += nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(x), mask=mask)
            x += nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(self.vocabulary)(nn.LayerNorm()(x))


class ResNet(nn.Module):
    """A block of two 3x3 convolutions with BatchNorm for each of `features`; all but the first halve the image."""

    features: tuple
    num_outputs: int

    @nn.compact
    def __call__(self, x, train: bool):
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        convolution = functools.partial(nn.Conv, kernel_size=(3, 3), use_bias=False)
        x = nn.relu(norm()(convolution(self.features[0])(x)))
        for number, width in enumerate(self.features):
            strides = 1 + (number > 0)
            y = nn.relu(norm()(convolution(width, strides=strides)(x)))
            y = norm()(convolution(width)(y))
            if strides > 1:
                x = norm()(convolution(width, kernel_size=(1, 1), strides=strides)(x))
            x = nn.relu(x + y)
        return nn.Dense(self.num_outputs)(x.mean((1, 2)))


class OfBytes(nn.Module):
    """An MLP of bytes, which it brings to 0 … 1 itself."""

    features: tuple
    num_outputs: int

    @nn.compact
    def __call__(self, x):
        return MLP(self.features, self.num_outputs)(x.astype(jnp.float32) / 255)


def network(workload, num_outputs, *, im2col=False):
    if workload.images:
        return CNN(workload.features, num_outputs, workload.valid, im2col)
    return MLP(workload.features, num_outputs)
