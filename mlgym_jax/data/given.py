"""The dataset `given`: what `mg.run(config, data=…)` was given, known by its fingerprint, and kept in the run's folder.

A config holds no arrays. It names the data by the SHA-256 of their content; where they are is found when the dataset is
built: at hand, while a call that was given `data=` goes on, or in the folder of a run that kept them.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mlgym_jax.components.registry import register
from mlgym_jax.config.file import source_file
from mlgym_jax.config.traversal import walk
from mlgym_jax.config.words import component, is_component, plain
from mlgym_jax.core.inputs import nested
from mlgym_jax.data.column_codes import encoded_by
from mlgym_jax.data.dataset import Dataset, split_arrays
from mlgym_jax.data.from_python import FORMS, dataset_of
from mlgym_jax.errors import ConfigError, DiskError, MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.files import write_whole

_LOG = logging.getLogger(__name__)
_NAMES = ("given", "dataset/given")
_KEPT_BYTES = 1 << 28  # more are kept only where that is asked for
_ARRAYS, _ABOUT = "arrays.npz", "dataset.json"


@dataclasses.dataclass(frozen=True)
class Given:
    """Data that a user gave, and the SHA-256 by which a config names them."""

    dataset: Dataset
    fingerprint: str


_at_hand: contextvars.ContextVar[Given | None] = contextvars.ContextVar("data_at_hand", default=None)
_bare: list[str] = []  # the folder of the run that was read last, if it has kept no data
_folders: dict[str, list[str]] = {}  # fingerprint -> the folders of runs that kept these data, the last seen first


@register("dataset", "given")
def given(*, fingerprint: str | None = None) -> Dataset:
    """Train on what is given in Python: `mg.run(config, data=(x, y))`, see docs/data.md.

    Args:
        fingerprint: the SHA-256 of the data, which `mg.run` fills in.

    Raises:
        ConfigError: no data are given, they are others than these, or their run has not kept them.
    """
    here = _at_hand.get()
    if here is not None and fingerprint in (None, here.fingerprint):
        return here.dataset
    if here is not None and fingerprint is not None:
        raise ConfigError(
            "dataset",
            f"data= is not what the run was given (its fingerprint is {here.fingerprint[:12]}…, recorded is "
            f"{fingerprint[:12]}…); give the data of then, in the same order, or start a new run",
        )
    if fingerprint is None:
        raise ConfigError(
            "dataset", f"it is given in Python, and nothing is given; write mg.run(config, …) with {FORMS}"
        )
    damaged = None
    for folder in filter(os.path.isdir, _folders.get(fingerprint, ())):
        try:
            return read(folder, fingerprint)
        except ConfigError as error:
            damaged = damaged or error
    if damaged is not None:
        raise damaged
    run = repr(_bare[-1]) if _bare else "run"
    raise ConfigError(
        "dataset",
        "its data were given in Python and are not kept here, so that no command line has them; give them again in "
        f"Python: mg.resume({run}, data=…). mg.reproduce, mg.evaluate and mg.load_run take data=…, too",
    )


def taken(data: Any) -> Given | None:
    """Return what a user gives as `data=` with its fingerprint; None stays None.

    Raises:
        MlgymError: see `dataset_of`.
    """
    if data is None or isinstance(data, Given):
        return data
    dataset = dataset_of(data)
    return Given(dataset, fingerprint_of(dataset))


def now() -> Given | None:
    """Return the data that are at hand, if there are any."""
    return _at_hand.get()


@contextlib.contextmanager
def at_hand(data: Any, encoding: Any = None) -> Iterator[Given | None]:
    """Let the dataset `given` be these data while the context lasts; None changes nothing.

    Args:
        encoding: the config's section, plain, of which columns it reads the texts, so that these are not told of.

    Raises:
        MlgymError: see `dataset_of`.
    """
    with encoded_by(encoding):
        token = _at_hand.set(taken(data) or _at_hand.get())
    try:
        yield _at_hand.get()
    finally:
        _at_hand.reset(token)


def config_of(config: Any, own_data: Given | None) -> Any:
    """Return a config whose dataset is `given`, with the data's fingerprint; as it is where no data are given.

    Where the section `dataset` holds `component("given")` somewhere inside, that is what gets it; else it is replaced.
    """
    if own_data is None or not isinstance(config, ConfigDict | Mapping):
        return config
    changed = plain(config)
    before = changed.get("dataset")
    own = plain(component("given", fingerprint=own_data.fingerprint))
    changed["dataset"] = _placed(before, own)
    if changed["dataset"] == before and before != own:
        if is_component(before):
            _LOG.warning("config.dataset: %r is left aside, as data= is given", before["component"])
        changed["dataset"] = own
    found = ConfigDict(changed, type_safe=False, allow_dotted_keys=True)
    object.__setattr__(found, "_source_file", source_file(config))
    return found


def _placed(section: Any, own: Mapping[str, Any]) -> Any:
    if isinstance(section, Mapping):
        if section.get("component") in _NAMES:
            return dict(own)
        return {name: _placed(value, own) for name, value in section.items()}
    return tuple(_placed(value, own) for value in section) if isinstance(section, tuple) else section


def fingerprint_of(dataset: Dataset) -> str:
    """Return the SHA-256 (hex) of a dataset's arrays, as they were given, and of what it says of them."""
    digest = hashlib.sha256(json.dumps(_about(dataset), sort_keys=True).encode())
    for name, split in dataset.splits.items():
        for field, array in sorted(split_arrays(split, name).items()):
            digest.update(json.dumps([name, field, array.dtype.name, array.shape]).encode())
            if array.size:
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _about(dataset: Dataset) -> dict[str, Any]:
    categories = dataset.categories
    return {
        "num_classes": dataset.num_classes,
        "feature_names": None if dataset.feature_names is None else [*map(str, dataset.feature_names)],
        "class_names": None if dataset.class_names is None else [*map(str, dataset.class_names)],
        "pad_token": dataset.pad_token,
        "mask_token": dataset.mask_token,
        "categories": None if categories is None else {str(name): [*words] for name, words in categories.items()},
    }


def kept(own_data: Given | None, keep: bool | None) -> Given | None:
    """Return the data that are to be kept with their run, if any are.

    Args:
        keep: what the user said; None keeps up to 256 MiB.

    Raises:
        MlgymError: they are larger, and the user said nothing; or `keep` is no truth value.
    """
    if keep is not None and not isinstance(keep, bool):
        raise MlgymError(f"keep_data: True, False or None is expected, found {keep!r}")
    if own_data is None:
        return None
    splits = own_data.dataset.splits.items()
    size = sum(array.nbytes for name, split in splits for array in split_arrays(split, name).values())
    if keep is None and size > _KEPT_BYTES:
        raise MlgymError(
            f"data: it has {size / 2**20:,.0f} MiB, and a run keeps up to {_KEPT_BYTES >> 20} MiB by itself; "
            "keep_data=True stores it in the run's folder all the same, keep_data=False does not, and mg.resume(run, "
            "data=…) is given it again. Data that lie in files are better named in config.dataset: 'npz', 'memmap', …"
        )
    return None if keep is False else own_data


def must_be_given_again(run_dir: str, config: Mapping[str, Any]) -> bool:
    """Tell whether a run trains on what was given in Python and has not kept it."""
    sections = (value for _, value in walk(config) if is_component(value))
    return any(section["component"] in _NAMES for section in sections) and not os.path.isfile(
        os.path.join(run_dir, layout.DATA, _ARRAYS)
    )


def write(run_dir: str, own_data: Given | None) -> None:
    """Write data, if there are any, into a run's folder: `data/arrays.npz`, and what is what: `data/dataset.json`.

    Raises:
        DiskError: the disk refuses.
    """
    if own_data is None:
        return
    folder, dataset = os.path.join(run_dir, layout.DATA), own_data.dataset
    names: dict[str, dict[str, str]] = {}
    arrays: dict[str, np.ndarray] = {}
    for split, content in dataset.splits.items():
        for field, array in split_arrays(content, split).items():
            names.setdefault(split, {})[field] = name = f"array_{len(arrays)}"
            arrays[name] = array
    about = {"fingerprint": own_data.fingerprint, "splits": names, **_about(dataset)}
    about |= (
        {"class_dtype": dataset.class_dtype} if dataset.class_dtype else {}
    )  # of no fingerprint: it changes no number
    try:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, _ARRAYS), "wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        write_whole(os.path.join(folder, _ABOUT), json.dumps(about, indent=1).encode())
    except OSError as error:
        raise DiskError(f"{folder}: the run's data cannot be written: {error.strerror}") from error


def lies_at(run_dir: str) -> None:
    """Let the dataset `given` be found in a run's folder, if that has kept its data."""
    folder = os.path.join(run_dir, layout.DATA)
    about = os.path.join(folder, _ABOUT)
    _bare[:] = [] if os.path.isfile(about) else [os.path.normpath(run_dir)]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(about, encoding="utf-8") as file:
        others = _folders.setdefault(json.load(file)["fingerprint"], [])
        others[:] = [folder, *(other for other in others if other != folder)]


def read(folder: str, fingerprint: str) -> Dataset:
    """Read data that a run has kept.

    Raises:
        ConfigError: they are damaged.
    """
    try:
        with open(os.path.join(folder, _ABOUT), encoding="utf-8") as file:
            about = json.load(file)
        with np.load(os.path.join(folder, _ARRAYS), allow_pickle=False) as archive:
            splits = {
                split: nested({field: archive[name] for field, name in fields.items()})
                for split, fields in about["splits"].items()
            }
        words: dict[str, Any] = {name: about[name] and tuple(about[name]) for name in ("feature_names", "class_names")}
        words |= {name: about[name] for name in ("pad_token", "mask_token")} | {"class_dtype": about.get("class_dtype")}
        categories = about["categories"] and {name: tuple(own) for name, own in about["categories"].items()}
        dataset = Dataset(splits, about["num_classes"], **words, categories=categories)
        if fingerprint_of(dataset) == fingerprint:
            return dataset
        reason = "its fingerprint is another than that which was recorded"
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ConfigError(
        "dataset", f"the data in {folder} are damaged ({reason}); restore this folder, or give data=… again"
    )
