"""A tree of arrays in few arrays: small ones side by side in one buffer, large ones as they are.

Orbax spends as much on a small array as on 100 kB of a large one. The few arrays tell by themselves what the tree was:

    small    uint8[…]: 8 bytes, a little-endian number, the length of the layout; the layout, JSON; the bytes of the
             small leaves, one after another
    0, 1, …  large leaves, by their number in the tree

The layout lists for each leaf [path, dtype, shape, where]: a path's names are strings, its places in lists and tuples
integers; `where` is the leaf's first byte behind the layout, or the name of its own array. An empty part of the tree is
[path, {}] or [path, null].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.trees import path_name

_LARGE_BYTES = 1 << 20
_HEAD_BYTES = 8
Packed = dict[str, np.ndarray]


def packed(tree: Any) -> Packed:
    """Pack a tree of NumPy arrays, of any shapes and of the dtypes that JAX has but typed keys.

    Large leaves are those of the tree, not copied.
    """
    described: list[Any] = []
    small: list[np.ndarray] = []
    arrays, end = {}, 0
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_empty)):
        names = [getattr(key, "idx", path_name((key,))) for key in path]
        if _is_empty(leaf):
            described.append([names, {} if isinstance(leaf, dict) else None])
            continue
        is_large = leaf.nbytes >= _LARGE_BYTES
        described.append([names, leaf.dtype.name, leaf.shape, str(number) if is_large else end])
        if is_large:
            arrays[str(number)] = leaf
        else:
            # As bytes, because the narrow floats of ml_dtypes are no buffers.
            small.append(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))
            end += leaf.nbytes
    layout = json.dumps(described, separators=(",", ":")).encode()
    head = np.frombuffer(len(layout).to_bytes(_HEAD_BYTES, "little") + layout, np.uint8)
    return {**arrays, "small": np.concatenate((head, *small))}


def unpacked(arrays: Mapping[str, np.ndarray], like: Any = None) -> Any:
    """Return the tree that was packed.

    Args:
        like: a tree of the shapes and dtypes to find, whose form is returned; without it the form is nested dicts and
            lists, empty parts of which are `{}` and None.

    Raises:
        ValueError: it holds other arrays than `like`.
    """
    start = _HEAD_BYTES + int.from_bytes(arrays["small"][:_HEAD_BYTES].tobytes(), "little")
    described, small = json.loads(arrays["small"][_HEAD_BYTES:start].tobytes()), arrays["small"][start:]
    leaves = []
    for names, *form in described:
        if len(form) == 1:
            leaves.append((names, form[0]))
            continue
        dtype, shape, where = np.dtype(form[0]), tuple(form[1]), form[2]
        if isinstance(where, str):
            leaf = arrays[where]
        else:  # copied, so that it begins where its dtype may
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            leaf = small[where : where + size].copy().view(dtype).reshape(shape)
        leaves.append((names, leaf))
    if like is None:
        return _nested(leaves)
    have = [("/".join(map(str, names)), leaf) for names, leaf in leaves if isinstance(leaf, np.ndarray)]
    wanted, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = [(path_name(path), leaf.dtype, leaf.shape) for path, leaf in wanted]
    found = [(name, leaf.dtype, leaf.shape) for name, leaf in have]
    if found != expected:
        differing = [f"{name} {dtype}{list(shape)}" for name, dtype, shape in {*found} ^ {*expected}]
        raise ValueError(f"it holds other arrays than this program: {', '.join(sorted(differing)[:4])}")
    return jax.tree.unflatten(structure, [leaf for _, leaf in have])


def _is_empty(node: Any) -> bool:
    return node is None or (isinstance(node, (tuple, list, dict)) and not node)


def _nested(leaves: list[tuple[list[str | int], Any]]) -> Any:
    """Put leaves together by their paths: what is found by integers is a list, all else a dict."""
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    parts: dict[str | int, list[tuple[list[str | int], Any]]] = {}
    for (first, *rest), leaf in leaves:
        parts.setdefault(first, []).append((rest, leaf))
    nested = {name: _nested(part) for name, part in parts.items()}
    places = [name for name in nested if isinstance(name, int)]
    if len(places) < len(nested):
        return nested
    return [nested.get(i) for i in range(max(places) + 1)]
