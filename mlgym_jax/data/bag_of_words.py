"""The encoding `bag_of_words`: a column of texts as numbers of their words, by scikit-learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import INPUTS_REST, Dataset
from mlgym_jax.data.one_pass import OnePass
from mlgym_jax.data.sources import few_arrays
from mlgym_jax.errors import ConfigError, listed, nearest

Weights = Literal["tf_idf", "counts", "hashing"]
_BYTES = 1 << 30  # of the table of all texts


@dataclasses.dataclass(frozen=True)
class BagOfWords:
    """What `bag_of_words` builds."""

    name: str
    column: int
    texts: Sequence[str]
    weights: Weights
    width: int
    ngrams: int
    keeps_rest = True

    @property
    def text_columns(self) -> frozenset[str]:
        """The columns whose texts it reads, so that they may be new ones."""
        return frozenset((self.name,))

    def with_texts(self, more: Mapping[str, Sequence[str]]) -> BagOfWords:
        """Return what also encodes the texts `more[column]`, whose codes follow those of the known ones."""
        return dataclasses.replace(self, texts=(*self.texts, *more.get(self.name, ())))

    def _place(self, inputs: Any) -> int:
        """Return where the column stands: alone in a group of `by_column`."""
        return self.column if inputs.shape[1] > 1 else 0

    def fills(self, width: int) -> frozenset[int]:
        return frozenset((self.column if width > 1 else 0,))

    def fit(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self._vectors(self._counts(arrays))

    def in_one_pass(self) -> OnePass:
        return OnePass(self._counts, np.add, self._vectors)

    def _counts(self, arrays: Mapping[str, Any]) -> np.ndarray:
        """Return how often each of the texts is there."""
        codes = np.asarray(arrays["inputs"])[:, self._place(arrays["inputs"])]
        return np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=len(self.texts))

    def _vectors(self, counts: np.ndarray) -> dict[str, Any]:
        vectors = self._fitted(np.repeat(np.arange(len(counts)), counts))
        found = vectors.transform(self.texts).toarray().astype(np.float32)
        return {"vectors": np.pad(found, ((0, 0), (0, self.width - found.shape[1])))}

    def learnt(self, codes: np.ndarray) -> dict[str, Any]:
        """Return what `fit` learns of the texts of these codes, NaN where there is none, as JSON has it."""
        vectors = self._fitted(codes)
        found: dict[str, Any] = {"weights": self.weights, "ngrams": self.ngrams, "width": self.width}
        if self.weights != "hashing":
            found["vocabulary"] = vectors.get_feature_names_out().tolist()
        if self.weights == "tf_idf":
            found["idf"] = vectors.idf_.tolist()
        return found

    def _fitted(self, codes: np.ndarray) -> Any:
        vectors = vectorizer(self.weights, self.width, self.ngrams)
        try:
            return vectors.fit(self.texts[code] for code in codes[~np.isnan(codes)].astype(np.int64))
        except ValueError as error:  # no words at all
            raise ConfigError("encoding", f"the texts of a training part: {error}") from None

    def apply(self, fitted: dict[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        inputs = batch["inputs"].astype(jnp.float32)
        place = self._place(inputs)
        codes = inputs[:, place]
        absent = jnp.isnan(codes)
        vectors = fitted["vectors"][jnp.where(absent, 0, codes).astype(jnp.int32)]
        others = [column for column in range(inputs.shape[1]) if column != place]
        new = {**batch, "inputs": jnp.concatenate([inputs[:, others], jnp.where(absent[:, None], 0, vectors)], axis=1)}
        if INPUTS_REST in batch:
            rest = batch[INPUTS_REST]
            new[INPUTS_REST] = jnp.concatenate([rest[:, others], jnp.zeros_like(vectors)], axis=1)
        return new


@register("encoding", "bag_of_words", needs=("dataset",))
def bag_of_words(
    dataset: Dataset, *, column: str, weights: Weights = "tf_idf", max_features: int = 1000, ngrams: int = 1
) -> BagOfWords:
    """Replace a column of texts in a table by numbers of their words, one column a word, behind the other columns.

    As scikit-learn's vectorizers with their defaults: words of two letters or more, in lower case. Vocabulary and
    weights are those of the fold's training part; a missing text is 0 everywhere. It comes first of a `chain`, or is a
    group of `by_column` with this column alone.

    Args:
        column: the column's name. In a table that was read its texts are codes; the dataset has the texts.
        weights: "tf_idf" as `TfidfVectorizer`, "counts" as `CountVectorizer`, "hashing" as `HashingVectorizer`, which
            has no vocabulary and needs none.
        max_features: the most frequent words that are kept, or the number of hashes.
        ngrams: words in a row that are one feature, at most.

    Raises:
        ConfigError: no such column, one of numbers, texts without words, or a table of texts too large for memory.
    """
    for name, value in {"max_features": max_features, "ngrams": ngrams}.items():
        if value < 1:
            raise ConfigError(f"encoding.{name}", f"found {value}; at least 1 is expected")
    inputs = few_arrays(dataset.splits["train"]).get("inputs")
    if inputs is None or inputs.ndim != 2:
        raise ConfigError("encoding.column", "the inputs are no table of columns")
    names = [*(dataset.feature_names or ())]
    if column not in names:
        raise ConfigError(
            "encoding.column", f"there is no column {column!r}{nearest(column, names)} Columns: {listed(names, 40)}"
        )
    texts = (dataset.categories or {}).get(column)
    if texts is None:
        raise ConfigError(
            "encoding.column",
            f"{column!r} holds numbers; columns of words: {listed(dataset.categories or ())}",
        )
    width = max_features
    if weights != "hashing":
        try:  # the folds have no more than all of the texts have
            width = len(vectorizer("counts", max_features, ngrams).fit(texts).vocabulary_)
        except ValueError as error:
            raise ConfigError("encoding.column", f"{column!r}: {error}") from None
    if (size := 4 * width * len(texts)) > _BYTES:
        raise ConfigError(
            "encoding.max_features",
            f"{len(texts):,} texts of {width:,} numbers each take {size / 2**30:.1f} GiB a fold; lower it",
        )
    return BagOfWords(column, names.index(column), tuple(texts), weights, width, ngrams)


def text_columns(encoding: Any) -> frozenset[str]:
    """Return the columns whose texts an encoding reads, or one inside of it."""
    return getattr(encoding, "text_columns", frozenset())


def bags_of(encoding: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], BagOfWords]]:
    """Return the bags of words in an encoding, and where in what it learnt their vectors stand."""
    if isinstance(encoding, BagOfWords):
        return [((*path, "vectors"), encoding)]
    inside = getattr(encoding, "encodings", ()) or [one for _, one in getattr(encoding, "groups", ())]
    return [found for number, one in enumerate(inside) for found in bags_of(one, (*path, f"{number:06}"))]


def vectorizer(weights: Weights, max_features: int, ngrams: int) -> Any:
    """Return scikit-learn's vectorizer."""
    from sklearn.feature_extraction import text  # importing it takes a second

    if weights == "hashing":
        return text.HashingVectorizer(n_features=max_features, ngram_range=(1, ngrams))
    kind: Any = text.TfidfVectorizer if weights == "tf_idf" else text.CountVectorizer
    return kind(max_features=max_features, ngram_range=(1, ngrams), dtype=np.float64)
