"""The dataset `image_folder`: a folder of images for each class."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.images import Fit, Images
from mlgym_jax.data.npz_files import file_at
from mlgym_jax.data.split_names import SPLIT_NAMES, is_split
from mlgym_jax.errors import ConfigError, listed, nearest

_LOG = logging.getLogger(__name__)
_KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}


@register("dataset", "image_folder")
def image_folder(
    *,
    path: str,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    fit: Fit = "crop",
    scale: bool = True,
) -> Dataset:
    """Read images that lie in one folder a class, `path/cat/1.png`, perhaps in one a split, `path/train/cat/1.png`.

    `inputs` float32[n, height, width, channels] in 0 … 1, or uint8; `targets` int32[n], the classes numbered in the
    order of their names. Images without class folders have no targets. Pillow decodes them: all at once, or with
    `component("streaming")` those of a batch, in its threads, while training goes on. Files are taken in the order of
    their paths; those of other kinds, and hidden ones, are passed over.

    Args:
        path: the folder. It has splits if one of its folders is named `train`; then all others are val (valid,
            validation, dev) and test, in large or small letters.
        size: the side, or (height, width), that all images are brought to; by default all have that of the first.
        channels: 3 for colour, 1 for grey, 4 with transparency.
        fit: what becomes of another aspect ratio: "crop" the middle, "pad" with black, or "stretch".
        scale: divide by 255; else bytes stay bytes.

    Raises:
        ConfigError: no such folder, no images in it or in one of its classes, a class that `train` does not have;
            where they are read, a file that is no image or, without `size`, of another size, with its path.
    """
    root = file_at(path)
    if not root.is_dir():
        raise ConfigError("dataset.path", f"{path!r} is a file; name the folder that holds one for each class")
    folders = {"train": root}
    inside = _folders(root)
    if any(name.lower() == "train" for name in inside):
        if others := [name for name in inside if not is_split(name)]:
            raise ConfigError(
                "dataset.path",
                f"{path!r} holds 'train', a split, and {others[0]!r}, which is none{nearest(others[0], SPLIT_NAMES)} "
                "Name the folder of the classes, or move it away",
            )
        folders = {SPLIT_NAMES[name.lower()]: folder for name, folder in inside.items()}
        if len(folders) < len(inside):
            raise ConfigError("dataset.path", f"{path!r} holds two folders of one split: {listed(inside)}; keep one")
        folders = {"train": folders.pop("train"), **folders}
    classes = [*_folders(folders["train"])]
    if len(folders) == 1 and (said := _perhaps_splits(root, classes)):
        _LOG.warning("config.dataset.path: %s", said)
    splits: dict[str, Images] = {}
    for split, folder in folders.items():
        files, targets = _files(folder, classes, complete=split == "train")
        known = {"targets": np.array(targets, np.int32)} if classes else {}
        splits[split] = Images(files, known, size, channels, fit, scale, like=splits.get("train"))
    return Dataset(splits, len(classes) or None, class_names=tuple(classes) or None)


def _perhaps_splits(root: Path, classes: list[str]) -> str:
    """Say that folders that are taken for classes hold all the same folders, as the parts of a data set do."""
    inside = [{*_folders(root / name)} for name in classes]
    shared = sorted(set.intersection(*inside)) if len(inside) > 1 else []
    if not shared or any(_images(root / name, "*") for name in classes):
        return ""
    return (
        f"{str(root)!r} holds {listed(classes, 4)}, which are taken for classes, and each of them holds the folders "
        f"{listed(shared, 4)}. If they are parts of the data, call them train, val and test"
    )


def _folders(folder: Path) -> dict[str, Path]:
    return {entry.name: entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.name[0] not in "._"}


def _images(folder: Path, pattern: str) -> list[str]:
    found = (file for file in folder.glob(pattern) if file.suffix.lower() in _KINDS and not file.name.startswith("."))
    return [str(file) for file in sorted(found) if file.is_file()]


def _files(folder: Path, classes: list[str], *, complete: bool) -> tuple[list[str], list[int]]:
    """Return the paths of a split's images, and the number of each one's class; `complete`, each has some."""
    if not classes:
        files = _images(folder, "*")
        if not files:
            raise ConfigError(
                "dataset.path", f"{str(folder)!r} holds no images ({', '.join(sorted(_KINDS))}), nor folders of them"
            )
        return files, []
    if unknown := [name for name in _folders(folder) if name not in classes]:
        raise ConfigError(
            "dataset.path",
            f"{str(folder)!r} holds the class {unknown[0]!r}, and 'train' does not{nearest(unknown[0], classes)} "
            f"Classes: {listed(classes)}",
        )
    if loose := _images(folder, "*"):
        raise ConfigError("dataset.path", f"{loose[0]!r} lies beside the folders of classes; move it into one of them")
    files: list[str] = []
    targets: list[int] = []
    for number, name in enumerate(classes):
        own = _images(folder / name, "**/*") if (folder / name).is_dir() else []
        if not own and complete:
            raise ConfigError("dataset.path", f"{str(folder / name)!r} holds no images; remove it or fill it")
        files += own
        targets += [number] * len(own)
    if not files:
        raise ConfigError("dataset.path", f"{str(folder)!r} holds no images")
    return files, targets
