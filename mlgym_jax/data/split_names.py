"""What the parts of a data set are called: by which names they are known, and which part a name means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

# name, in small letters -> the part that it means; files and folders of these names are parts, in any letters
SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "test": "test",
}
_FIRST = ("val", "validation")  # what else validates means that where nothing is called so


def is_split(name: str) -> bool:
    """Tell whether a file or folder of this name is a part of a data set."""
    return name.lower() in SPLIT_NAMES


def split_meant(name: str, names: Collection[str]) -> str:
    """Return which split a name means among `names`: "val" for "validation", "valid" and "dev", in any letters."""
    small = name.lower()
    meant = SPLIT_NAMES.get(small, name)
    if meant == "train":
        return name
    if small not in (*_FIRST, "test") and any(other.lower() in _FIRST for other in names):
        return name
    return name if meant == small and small in names else meant


def common_names(datasets: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return of each dataset its splits' names in all of them together: one for those that mean the same.

    Args:
        datasets: the splits of each.
    """
    meant = [{name: split_meant(name, own) for name in own} for own in datasets]
    spelled: dict[str, set[str]] = {}
    for name, split in (pair for own in meant for pair in own.items()):
        spelled.setdefault(split, set()).add(name)
    return [{name: name if len(spelled[split]) == 1 else split for name, split in own.items()} for own in meant]
