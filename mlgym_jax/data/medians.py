"""Exact medians of columns that are read part by part: three passes, of which each knows eleven more bits.

Numbers of at most 32 bits are put in order as integers of 33. A pass counts how many of those that begin as the median
does go on with each of 2,048 next digits, so what is held grows with the columns, and not with the rows (selection in
several passes: Munro and Paterson, 1980, "Selection and sorting with limited storage").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.data.one_pass import OnePass, Passes

_BITS, _PASSES = 11, 3
_OFFSET = 1 << 31  # of integers, which so begin at 0
_NONE = np.iinfo(np.int64).max


def medians() -> Passes:
    """Return how the median of each column of `inputs` is found, which NaN counts nothing in.

    What it learns is {"median": float64[columns], NaN of no value}, as `numpy.nanmedian` of the numbers in float64.
    """
    return Passes(_PASSES, _pass_after, lambda results: {"median": _value(results[-1])})


def _pass_after(before: Sequence[Mapping[str, Any]]) -> OnePass:
    """Return a pass that counts the next digits of what begins as the results `before` say."""
    shift = _BITS * (_PASSES - 1 - len(before))
    begin = before[-1]["begin"] if before else 0  # int64[columns], the digits that are known

    def summed(arrays: Mapping[str, Any]) -> dict[str, Any]:
        inputs = np.asarray(arrays["inputs"])
        keys, columns = _keys(inputs), inputs.shape[1]
        begins = keys >> (shift + _BITS)
        digits = (keys >> shift & ((1 << _BITS) - 1)) + (np.arange(columns) << _BITS)
        counts = np.bincount(digits[begins == begin], minlength=columns << _BITS)
        return {
            "counts": counts.reshape(columns, 1 << _BITS),
            "next": np.where(begins > begin, keys, _NONE).min(axis=0),  # what follows on those that are counted
            "is_float": inputs.dtype.kind == "f",
        }

    def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        counts, following = one["counts"] + other["counts"], np.minimum(one["next"], other["next"])
        return {"counts": counts, "next": following, "is_float": one["is_float"]}

    def fitted(sums: Mapping[str, Any]) -> dict[str, Any]:
        upto = sums["counts"].cumsum(axis=1)
        number = before[0]["number"] if before else upto[:, -1]
        rank = before[-1]["rank"] if before else np.maximum(number - 1, 0) // 2  # among those that are counted
        digit = np.minimum((upto <= rank[:, None]).sum(axis=1), (1 << _BITS) - 1)
        within = np.take_along_axis(upto - sums["counts"], digit[:, None], 1)[:, 0]
        known = {"begin": begin << _BITS | digit, "rank": rank - within, "number": number}
        return known if shift else known | {"upper": _upper(sums, upto, known, rank), "is_float": sums["is_float"]}

    return OnePass(summed, merged, fitted)


def _upper(sums: Mapping[str, Any], upto: np.ndarray, known: Mapping[str, Any], rank: np.ndarray) -> np.ndarray:
    """Return int64[columns], the upper of the two in the middle of an even number, the same one of an odd number."""
    wanted = rank + (known["number"] % 2 == 0)
    digit = (upto <= wanted[:, None]).sum(axis=1)
    here = known["begin"] >> _BITS << _BITS | digit
    return np.where(digit < 1 << _BITS, here, sums["next"])


def _value(last: Mapping[str, Any]) -> np.ndarray:
    lower, upper = (_numbers(last[name], last["is_float"]) for name in ("begin", "upper"))
    return np.where(last["number"] > 0, (lower + upper) / 2, np.nan)


def _keys(inputs: np.ndarray) -> np.ndarray:
    """Return int64[n, columns], integers in the order of the numbers; `_NONE` of NaN."""
    if inputs.dtype.kind != "f":
        return inputs.astype(np.int64) + _OFFSET
    values = np.ascontiguousarray(inputs, np.float32) + np.float32(0)  # -0 is 0
    bits = values.view(np.uint32)
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(_OFFSET)).astype(np.int64)
    return np.where(np.isnan(values), _NONE, keys)


def _numbers(keys: np.ndarray, is_float: bool) -> np.ndarray:
    if not is_float:
        return (keys - _OFFSET).astype(np.float64)
    bits = (keys & 0xFFFFFFFF).astype(np.uint32)
    bits = np.where(bits >> 31, bits ^ np.uint32(_OFFSET), ~bits)
    with np.errstate(invalid="ignore"):
        return bits.view(np.float32).astype(np.float64)
