"""The built-in tables of measurements, scikit-learn's, through TFDS builders: `breast_cancer`, `wine`, `diabetes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset

_OF_A_NUCLEUS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
_OF_A_TUMOUR = (
    *(f"mean {name}" for name in _OF_A_NUCLEUS),
    *(f"{name} error" for name in _OF_A_NUCLEUS),
    *(f"worst {name}" for name in _OF_A_NUCLEUS),
)
_OF_A_WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
_OF_A_PATIENT = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


@register("dataset", "breast_cancer")
def breast_cancer(*, data_dir: str | None = None) -> Dataset:
    """Read 569 breast tumours of 30 measurements each, malignant or benign (UCI's Wisconsin diagnostic data).

    One split, "train", in scikit-learn's order: `inputs` float32[569, 30], unscaled; `targets` int32[569], 0 malignant
    (212) and 1 benign (357). Generated once into ArrayRecord files by TFDS, without network.

    Args:
        data_dir: folder of prepared data sets, as of `digits`.

    Raises:
        ConfigError: the folder cannot be read or written.
    """
    split = _read("breast_cancer", _OF_A_TUMOUR, 569, "int32", data_dir)
    return Dataset({"train": split}, 2, _OF_A_TUMOUR, class_names=("malignant", "benign"))


@register("dataset", "wine")
def wine(*, data_dir: str | None = None) -> Dataset:
    """Read 178 wines of three growers, 13 chemical measurements each (UCI's wine recognition data).

    One split, "train", in scikit-learn's order: `inputs` float32[178, 13], unscaled; `targets` int32[178] in 0 … 2
    (59, 71 and 48 wines). Generated once into ArrayRecord files by TFDS, without network.

    Args:
        data_dir: folder of prepared data sets, as of `digits`.

    Raises:
        ConfigError: the folder cannot be read or written.
    """
    split = _read("wine", _OF_A_WINE, 178, "int32", data_dir)
    return Dataset({"train": split}, 3, _OF_A_WINE, class_names=("class_0", "class_1", "class_2"))


@register("dataset", "diabetes")
def diabetes(*, data_dir: str | None = None, scale: bool = False) -> Dataset:
    """Read 442 diabetes patients of 10 measurements and the progression of the disease (Efron et al., 2004).

    One split, "train", in scikit-learn's order: `inputs` float32[442, 10]; `targets` float32[442] in 25 … 346, to be
    regressed. Generated once into ArrayRecord files by TFDS, without network.

    Args:
        data_dir: folder of prepared data sets, as of `digits`.
        scale: give every column the mean 0 and the length 1, as scikit-learn does by default. That looks at all rows;
            `component("standardise")` as the encoding looks at the training part of each fold only.

    Raises:
        ConfigError: the folder cannot be read or written.
    """
    split = _read("diabetes", _OF_A_PATIENT, 442, "float32", data_dir, {"scaled": False})
    if scale:
        inputs = split["inputs"].astype(np.float64)
        inputs -= inputs.mean(axis=0)
        split["inputs"] = (inputs / np.linalg.norm(inputs, axis=0)).astype(np.float32)
    return Dataset({"train": split}, None, _OF_A_PATIENT)


def _read(
    name: str,
    columns: tuple[str, ...],
    num_examples: int,
    target_dtype: str,
    data_dir: str | None,
    options: dict[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    from mlgym_jax.data.tfds_builders import load_arrays

    def examples() -> Iterator[dict[str, Any]]:
        import sklearn.datasets  # only when the files are generated: importing it takes a second

        found = getattr(sklearn.datasets, f"load_{name}")(**(options or {}))
        for inputs, target in zip(found.data, found.target, strict=True):
            yield {"inputs": inputs.astype(np.float32), "targets": np.dtype(target_dtype).type(target)}

    return load_arrays(
        f"mlgym_{name}",
        features={"inputs": ((len(columns),), "float32"), "targets": ((), target_dtype)},
        examples=examples,
        num_examples=num_examples,
        data_dir=data_dir,
        description=f"scikit-learn's load_{name}.",
    )
