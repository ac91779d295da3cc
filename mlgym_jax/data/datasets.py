"""The built-in datasets: `digits` (scikit-learn's, through a TFDS builder) and `synthetic`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError, nearest

_DIGITS_MAX_VALUE = 16


def _digits_examples() -> Iterator[dict[str, Any]]:
    from sklearn.datasets import load_digits  # only when the files are generated: importing it takes a second

    digits: Any = load_digits()
    for image, target in zip(digits.images, digits.target, strict=True):
        yield {"inputs": image.astype(np.uint8)[:, :, None], "targets": np.int32(target)}


@register("dataset", "digits")
def digits(*, data_dir: str | None = None, scale: bool = True, flat: bool = True) -> Dataset:
    """Read the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships (a part of UCI's optdigits).

    One split, "train", in scikit-learn's order: `inputs` float32[1797, 64], `targets` int32[1797] in 0 … 9. Generated
    once into ArrayRecord files by TFDS, without network.

    Args:
        data_dir: folder of prepared data sets; by default the environment variable MLGYM_JAX_DATA_DIR, else
            `mlgym_jax/datasets` in the user's cache folder ($XDG_CACHE_HOME or ~/.cache).
        scale: divide the pixels, 0 … 16, by 16.
        flat: rows of 64 pixels; False gives images float32[1797, 8, 8, 1].

    Raises:
        ConfigError: the folder cannot be read or written.
    """
    from mlgym_jax.data.tfds_builders import load_arrays

    arrays = load_arrays(
        "mlgym_digits",
        features={"inputs": ((8, 8, 1), "uint8"), "targets": ((), "int32")},
        examples=_digits_examples,
        num_examples=1797,
        data_dir=data_dir,
        description="scikit-learn's load_digits: 1,797 images of 8 x 8 pixels in 0 … 16, and the digit they show.",
    )
    inputs = arrays["inputs"].astype(np.float32)
    if scale:
        inputs /= _DIGITS_MAX_VALUE  # a power of two: exact
    if flat:
        inputs = inputs.reshape(len(inputs), -1)
    return Dataset(
        splits={"train": {"inputs": inputs, "targets": arrays["targets"]}},
        num_classes=10,
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)) if flat else None,
        class_names=tuple(map(str, range(10))),
        class_dtype="int64",
    )


@register("dataset", "synthetic")
def synthetic(
    *,
    num_examples: int = 1000,
    num_features: int = 20,
    num_classes: int = 2,
    noise: float = 0.5,
    seed: int = 0,
    task: Literal["classification", "regression"] = "classification",
) -> Dataset:
    r"""Draw a learnable data set from a seed: Gaussian classes, or a noisy linear teacher.

    Classification: class `k` has a centre \(c_k\), a random direction of length 1; an example is
    \(x = c_y + \text{noise} \cdot \epsilon\) with standard normal \(\epsilon\); the classes are of equal size (up to
    one). Two classes with centres \(d\) apart are told apart with accuracy \(\Phi(d / (2\,\text{noise}))\) at best.
    Regression: \(y = w^\top x + \text{noise} \cdot \epsilon\) with standard normal \(x\) and \(|w| = 1\), so the best
    mean squared error is \(\text{noise}^2\) and the best \(R^2\) is \(1 / (1 + \text{noise}^2)\).

    One split, "train": `inputs` float32[num_examples, num_features]; `targets` int32[num_examples], or
    float32[num_examples] for regression.

    Args:
        noise: standard deviation of the noise, in units of the signal.
        seed: draws centres or teacher, and examples.
        task: "classification" or "regression"; `num_classes` is for the first only.

    Raises:
        ConfigError: a size that is too small, a negative noise or seed, an unknown task.
    """
    if task not in ("classification", "regression"):
        options = ("classification", "regression")
        raise ConfigError("dataset.task", f"unknown task {task!r}{nearest(task, options)} Tasks: {', '.join(options)}")
    classify = task == "classification"
    least = {"num_examples": 1, "num_features": 2 if classify else 1, "num_classes": 2 if classify else 0, "seed": 0}
    given = {"num_examples": num_examples, "num_features": num_features, "num_classes": num_classes, "seed": seed}
    for name, minimum in least.items():
        if given[name] < minimum:
            raise ConfigError(f"dataset.{name}", f"found {given[name]}; {task} needs at least {minimum}")
    if classify and num_examples < num_classes:
        raise ConfigError(
            "dataset.num_examples", f"found {num_examples}, fewer than the classes ({num_classes}); each needs one"
        )
    if not 0 <= noise < float("inf"):
        raise ConfigError("dataset.noise", f"found {noise}; give a number of at least 0")
    rng = np.random.Generator(np.random.Philox(seed))
    directions = rng.standard_normal((num_classes if classify else 1, num_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inputs = rng.standard_normal((num_examples, num_features))
    if classify:
        targets = rng.permutation(num_examples) % num_classes
        inputs = directions[targets] + noise * inputs
        targets = targets.astype(np.int32)
    else:
        targets = (inputs @ directions[0] + noise * rng.standard_normal(num_examples)).astype(np.float32)
    return Dataset(
        splits={"train": {"inputs": inputs.astype(np.float32), "targets": targets}},
        num_classes=num_classes if classify else None,
    )
