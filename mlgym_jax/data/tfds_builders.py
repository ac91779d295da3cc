"""Small data sets as TFDS builders: generated once into ArrayRecord files, read back without TensorFlow or network."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlgym_jax.data.quiet_tfds import quiet_tfds
from mlgym_jax.errors import ConfigError
from mlgym_jax.events.claim import claimed

_LOG = logging.getLogger(__name__)
_WORK_PREFIX = ".building-"
_ABANDONED_SECONDS = 3600.0

# field -> (shape of one example, NumPy type)
Features = Mapping[str, tuple[tuple[int, ...], str]]


def cache_folder(data_dir: str | None = None) -> Path:
    """Return the folder of prepared data sets: `data_dir`, else $MLGYM_JAX_DATA_DIR, else the user's cache folder."""
    chosen = data_dir or os.environ.get("MLGYM_JAX_DATA_DIR")
    if not chosen:
        chosen = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "mlgym_jax", "datasets")
    if "://" in chosen:
        raise ConfigError("dataset.data_dir", f"{chosen!r} is an address; give a folder on this machine")
    return Path(os.path.abspath(os.path.expanduser(chosen)))


def make_builder(
    name: str,
    *,
    features: Features,
    examples: Callable[[], Iterable[Mapping[str, Any]]],
    folder: str | os.PathLike[str],
    version: str = "1.0.0",
    description: str = "",
) -> Any:
    """Make a `tfds.core.GeneratorBasedBuilder` with one split "train" that keeps the order of `examples`.

    Args:
        name: the data set's name in TFDS, snake_case; its files go to `folder/name/version`.
        features: field -> (shape of one example, NumPy type).
        examples: called when the files are generated; yields one dict an example.
    """
    import tensorflow_datasets as tfds

    class ArrayBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        code_path = None  # where TFDS would look for download checksums, through a package it does not depend on

        def _info(self):
            connectors = {
                field: tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype))
                for field, (shape, dtype) in features.items()
            }
            # Without disable_shuffling TFDS orders the examples by a hash of their keys.
            return tfds.core.DatasetInfo(
                builder=self,
                description=description,
                features=tfds.features.FeaturesDict(connectors),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from enumerate(examples())

    ArrayBuilder.name = name
    return ArrayBuilder(data_dir=os.fspath(folder), file_format="array_record")


def load_arrays(
    name: str,
    *,
    features: Features,
    examples: Callable[[], Iterable[Mapping[str, Any]]],
    num_examples: int,
    data_dir: str | None = None,
    version: str = "1.0.0",
    description: str = "",
) -> dict[str, np.ndarray]:
    """Read a data set from the cache folder, generating it there first if it is missing or damaged.

    Generation is atomic: the files are written to a folder of their own, which is then renamed. Whoever is killed
    meanwhile leaves nothing but that folder (removed after an hour), and of several processes the first one wins.

    Returns:
        field -> array[num_examples, *shape], in the order of `examples`.

    Raises:
        ConfigError: at `dataset.data_dir`, if the folder cannot be read or written.
    """
    folder = cache_folder(data_dir)
    home = folder / name / version
    recipe: dict[str, Any] = dict(features=features, examples=examples, version=version, description=description)

    def read(where: Path) -> dict[str, np.ndarray]:
        return _read(make_builder(name, folder=where, **recipe), features, num_examples)

    try:
        if os.path.lexists(home):
            _check_readable(home)
            try:
                return read(folder)
            except Exception as error:  # ArrayRecord, JSON and protobuf each have their own way to say "damaged"
                _LOG.warning("%s is damaged (%s); it is generated again", home, _first_line(error))
        return _generate(name, folder, home, recipe, read)
    except OSError as error:
        raise _folder_error(folder, error) from None


def _generate(name: str, folder: Path, home: Path, recipe: dict[str, Any], read: Callable) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=folder))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        stack.enter_context(claimed(str(work)))
        builder = make_builder(name, folder=work, **recipe)
        try:
            with quiet_tfds():
                builder.download_and_prepare()
            arrays = read(work)
        except RuntimeError as error:  # how ArrayRecord reports, among others, a full disk
            raise OSError(_first_line(error)) from error
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(builder.data_path, home)
        except OSError:
            # Something is there already: another process was first, or what is there is damaged.
            if not os.path.lexists(home):
                raise
            try:
                return read(folder)
            except Exception:
                # Moved away by a rename, never deleted in place: a reader sees the old one, none, or the new one.
                with contextlib.suppress(FileNotFoundError):
                    os.rename(home, work / "damaged")
                with contextlib.suppress(OSError):  # another process was quicker; its copy is as good
                    os.rename(builder.data_path, home)
        return arrays


def _read(builder: Any, features: Features, num_examples: int) -> dict[str, np.ndarray]:
    source = builder.as_data_source(split="train")
    if len(source) != num_examples:
        raise ValueError(f"{len(source)} of {num_examples} examples")
    records = source.__getitems__(list(range(len(source))))
    arrays = {}
    for field, (shape, dtype) in features.items():
        arrays[field] = np.stack([np.asarray(record[field], dtype) for record in records])
        if arrays[field].shape[1:] != shape:
            raise ValueError(f"{field} has the shape {arrays[field].shape[1:]} instead of {shape}")
    return arrays


def _check_readable(home: Path) -> None:
    """Raise PermissionError before a file that may not be read is taken for a damaged one."""
    with contextlib.suppress(FileNotFoundError):  # another process is just replacing it
        for path in (home, *home.glob("*")):
            if not os.access(path, os.R_OK) and path.exists():
                raise PermissionError(13, "Permission denied", os.fspath(path))


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_WORK_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:  # so it seems; somebody may have set the clock
                with claimed(str(path)):
                    shutil.rmtree(path, ignore_errors=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def _folder_error(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "dataset.data_dir",
        f"the folder {os.fspath(folder)!r} of prepared data sets cannot be used ({_first_line(error)}); "
        "give a folder that can be written: component(…, data_dir='…') or the environment variable MLGYM_JAX_DATA_DIR",
    )
