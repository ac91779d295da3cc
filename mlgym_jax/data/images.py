"""Image files as arrays: decoded by Pillow, brought to one size and number of channels."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from mlgym_jax.errors import ConfigError, described, in_words

Fit = Literal["crop", "pad", "stretch"]
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PIECE = 256  # images that are decoded at once by all threads


class Images:
    """Images as a source (`data.sources`): `inputs` [n, height, width, channels], and fields that are known already.

    Attributes:
        known: field -> array of all examples, which need no image to be decoded.
    """

    def __init__(
        self,
        encoded: Any,
        known: dict[str, np.ndarray],
        size: Any,
        channels: int,
        fit: Fit,
        scale: bool,
        like: Images | None = None,
    ):
        """Take images as they are encoded: paths, or what reads `encoded[row]` as bytes or as a path.

        Args:
            size: that all are brought to; without one all have to have that of the first, or of those they are `like`.

        Raises:
            ConfigError: at `dataset`: a size, or a number of channels, that cannot be; the first image is unreadable.
        """
        if channels not in _MODES:
            raise ConfigError(
                "dataset.channels", f"found {channels}; 1 (grey), 3 (colour) or 4 (with alpha) is expected"
            )
        self._encoded, self.known, self._channels, self._fit, self._scale = encoded, known, channels, fit, scale
        self._size, self._is_asked = _size(size), size is not None
        if self._size is None:
            self._size = self._decoded(0).shape[:2] if like is None else like._size

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {field: array[0] for field, array in self.read(np.array([row])).items()}

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
        with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            decoded: list[np.ndarray] = []
            for start in range(0, len(rows), _PIECE):  # so that an error ends it soon
                decoded += pool.map(self._image, rows[start : start + _PIECE])
        others = [{field: array[row] for field, array in self.known.items()} for row in rows]
        return [{"inputs": image, **other} for image, other in zip(decoded, others, strict=True)]

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        images = np.stack([self._image(int(row)) for row in rows])
        return {"inputs": images, **{field: array[rows] for field, array in self.known.items()}}

    def _image(self, row: int) -> np.ndarray:
        image = self._decoded(row)
        return image.astype(np.float32) / np.float32(255) if self._scale else image

    def _decoded(self, row: int) -> np.ndarray:
        """Return uint8[height, width, channels].

        Raises:
            ConfigError: at `dataset`: the file is no image, is cut short, or has another size where none was asked for.
        """
        from PIL import Image, ImageOps

        given = self._encoded[row]
        where = repr(os.fspath(given)) if isinstance(given, str | os.PathLike) else f"image {row}"
        try:
            with Image.open(io.BytesIO(given) if isinstance(given, bytes) else given) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise ValueError(f"its pixels have more than 8 bits (mode {opened.mode}); convert it to 8")
                image = ImageOps.exif_transpose(opened).convert(_MODES[self._channels])
            if self._size is not None and (image.height, image.width) != self._size:
                if not self._is_asked:
                    raise ValueError(
                        f"it is {image.height} x {image.width} pixels, the first image is {self._size[0]} x "
                        f"{self._size[1]}; write size={self._size}"
                    )
                image = self._fitted(image)
        except Exception as error:  # each format of Pillow has its own ways to say "damaged"
            raise ConfigError("dataset", f"{where} cannot be read as an image: {in_words(error)}") from error
        array = np.asarray(image)
        return array[..., None] if array.ndim == 2 else array

    def _fitted(self, image: Any) -> Any:
        from PIL import Image, ImageOps

        height, width = self._size or (0, 0)
        if self._fit == "stretch":
            return image.resize((width, height), Image.Resampling.BILINEAR)
        form = ImageOps.fit if self._fit == "crop" else ImageOps.pad
        return form(image, (width, height), method=Image.Resampling.BILINEAR)


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else size
    if not (
        isinstance(pair, tuple) and len(pair) == 2 and all(type(side) is int and 1 <= side < 2**15 for side in pair)
    ):
        raise ConfigError("dataset.size", f"found {described(size)}; write size=64 or size=(height, width)")
    return pair
