"""Image files as arrays: decoded by Pillow, brought to one size and number of channels."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from mlgym_jax.data.sources import one_by_one
from mlgym_jax.errors import ConfigError, described, in_words

Fit = Literal["crop", "pad", "stretch"]
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PIECE = 256  # images that are decoded at once by all threads


@dataclasses.dataclass(frozen=True)
class Form:
    """What an image becomes.

    Attributes:
        size: (height, width) that it is brought to, or, where that was not asked for, that it has to have; None: any.
        channels: 1 (grey), 3 (colour) or 4 (with alpha); fit: see `image_folder`; scale: to float32 in 0 … 1.
    """

    size: tuple[int, int] | None
    is_asked: bool
    channels: int
    fit: Fit
    scale: bool

    def __post_init__(self) -> None:
        if self.channels not in _MODES:
            raise ConfigError(
                "dataset.channels", f"found {self.channels}; 1 (grey), 3 (colour) or 4 (with alpha) is expected"
            )

    def read(self, given: bytes | str | os.PathLike) -> np.ndarray:
        """Return [height, width, channels], float32 in 0 … 1 or uint8, of a file's path or its bytes.

        Raises:
            ValueError: it is no image, is cut short, or has another size where none was asked for.
        """
        image = self.decoded(given)
        return image.astype(np.float32) / np.float32(255) if self.scale else image

    def decoded(self, given: bytes | str | os.PathLike) -> np.ndarray:
        """Return it as uint8; else as `read`."""
        from PIL import Image, ImageOps

        try:
            with Image.open(io.BytesIO(given) if isinstance(given, bytes) else given) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise ValueError(f"its pixels have more than 8 bits (mode {opened.mode}); convert it to 8")
                image = ImageOps.exif_transpose(opened).convert(_MODES[self.channels])
            if self.size is not None and (image.height, image.width) != self.size:
                if not self.is_asked:
                    raise ValueError(
                        f"it is {image.height} x {image.width} pixels, the first image is {self.size[0]} x "
                        f"{self.size[1]}; write size={self.size}"
                    )
                image = self._fitted(image)
        except Exception as error:  # each format of Pillow has its own ways to say "damaged"
            raise ValueError(f"cannot be read as an image: {in_words(error)}") from error
        array = np.asarray(image)
        return array[..., None] if array.ndim == 2 else array

    def _fitted(self, image: Any) -> Any:
        from PIL import Image, ImageOps

        height, width = self.size or (0, 0)
        if self.fit == "stretch":
            return image.resize((width, height), Image.Resampling.BILINEAR)
        form = ImageOps.fit if self.fit == "crop" else ImageOps.pad
        return form(image, (width, height), method=Image.Resampling.BILINEAR)


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
        self._encoded, self.known = encoded, known
        self.form = Form(_size(size), size is not None, channels, fit, scale)
        if self.form.size is None:
            shape = self._at(0, self.form.decoded).shape[:2] if like is None else like.form.size
            self.form = dataclasses.replace(self.form, size=shape)

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
        images = np.stack([self._image(row) for row in one_by_one(rows)])
        return {"inputs": images, **{field: array[rows] for field, array in self.known.items()}}

    def _image(self, row: int) -> np.ndarray:
        return self._at(row, self.form.read)

    def _at(self, row: int, read: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return what `read` makes of an image.

        Raises:
            ConfigError: at `dataset`: see `Form.read`; with its path, or its number.
        """
        given = self._encoded[row]
        try:
            return read(given)
        except ValueError as error:
            where = repr(os.fspath(given)) if isinstance(given, str | os.PathLike) else f"image {row}"
            raise ConfigError("dataset", f"{where} {error}") from error


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else size
    if not (
        isinstance(pair, tuple) and len(pair) == 2 and all(type(side) is int and 1 <= side < 2**15 for side in pair)
    ):
        raise ConfigError("dataset.size", f"found {described(size)}; write size=64 or size=(height, width)")
    return pair
