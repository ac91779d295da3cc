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


def network(workload, num_outputs, *, im2col=False):
    if workload.images:
        return CNN(workload.features, num_outputs, workload.valid, im2col)
    return MLP(workload.features, num_outputs)
