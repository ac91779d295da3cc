"""Read an image at places between its pixels: bilinear for real numbers, the nearest pixel for integers.

Places are in pixels, the centre of the first one at 0. What lies outside of the image is filled: with a constant, which
the pixels at the border are mixed with, or with the image's own, as `pad_places` says.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

Padding = Literal["constant", "edge", "reflect", "wrap"]


def pad_places(places: jax.Array, size: int, padding: Padding) -> tuple[jax.Array, jax.Array]:
    """Return int32 places inside of an axis for any integer ones, and bool, which of them were inside.

    As NumPy's `pad` names them: `edge` repeats the last pixel, `reflect` mirrors at its centre, `wrap` begins anew.
    """
    inside = (places >= 0) & (places < size)
    if padding == "wrap":
        return places % size, inside
    if padding == "reflect" and size > 1:
        period = 2 * (size - 1)
        folded = places % period
        return jnp.minimum(folded, period - folded), inside
    return jnp.clip(places, 0, size - 1), inside


def taken(image: jax.Array, rows: jax.Array, columns: jax.Array, padding: Padding, fill: Any) -> jax.Array:
    """Return [len(rows), len(columns), channels]: whole pixels of an image [height, width, channels].

    Args:
        rows, columns: int32[n], which may lie outside.
        fill: what stands outside where the padding is `constant`, in the image's type.
    """
    row, row_inside = pad_places(rows, image.shape[0], padding)
    column, column_inside = pad_places(columns, image.shape[1], padding)
    found = jnp.take(jnp.take(image, row, axis=0, mode="clip"), column, axis=1, mode="clip")
    if padding != "constant":
        return found
    inside = row_inside[:, None, None] & column_inside[None, :, None]
    return jnp.where(inside, found, jnp.asarray(fill, image.dtype))


def sampled(image: jax.Array, y: jax.Array, x: jax.Array, padding: Padding, fill: Any) -> jax.Array:
    """Return [*places, channels], an image [height, width, channels] at float32 places y and x of one shape."""
    if jnp.issubdtype(image.dtype, jnp.integer):
        rows, columns = (jnp.round(places).astype(jnp.int32) for places in (y, x))
        value = jnp.asarray(fill, jnp.float32).round().astype(image.dtype)
        return _pixels(image, rows, columns, padding, value)
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = (y - top)[..., None].astype(image.dtype), (x - left)[..., None].astype(image.dtype)
    row, column = top.astype(jnp.int32), left.astype(jnp.int32)
    fill = jnp.asarray(fill, image.dtype)

    def pixels(rows_on: int, columns_on: int) -> jax.Array:
        return _pixels(image, row + rows_on, column + columns_on, padding, fill)

    upper = (1 - right) * pixels(0, 0) + right * pixels(0, 1)
    lower = (1 - right) * pixels(1, 0) + right * pixels(1, 1)
    return (1 - down) * upper + down * lower


def _pixels(image: jax.Array, rows: jax.Array, columns: jax.Array, padding: Padding, fill: jax.Array) -> jax.Array:
    height, width, channels = image.shape
    row, row_inside = pad_places(rows, height, padding)
    column, column_inside = pad_places(columns, width, padding)
    found = jnp.take(image.reshape(height * width, channels), row * width + column, axis=0, mode="clip")
    if padding != "constant":
        return found
    return jnp.where((row_inside & column_inside)[..., None], found, fill)


def transformed(image: jax.Array, matrix: Any, shift: Any, padding: Padding, fill: Any) -> jax.Array:
    """Return an image whose pixel at p, from the image's centre, is what the image has at `matrix @ p + shift`.

    Args:
        matrix: ((yy, yx), (xy, xx)), scalars; shift: (y, x), pixels.
    """
    height, width, _ = image.shape
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - centre_y
    x = jnp.arange(width, dtype=jnp.float32)[None, :] - centre_x
    (yy, yx), (xy, xx) = matrix
    return sampled(image, yy * y + yx * x + shift[0] + centre_y, xy * y + xx * x + shift[1] + centre_x, padding, fill)


def resized(image: jax.Array, top: Any, left: Any, height: Any, width: Any, size: tuple[int, int]) -> jax.Array:
    """Return a box of an image, [*size, channels]; its edges may lie between pixels.

    Real numbers are averaged over all that an output pixel covers (a triangle, as Pillow's `resize(…, BILINEAR, box=…)`
    does, so that small ones do not flicker); integers are those of the nearest pixel.

    Args:
        top, left, height, width: float32[], the box, in pixels from the image's corner.
    """
    sides = [jnp.asarray(side, jnp.float32) for side in (height, width)]
    corner = [jnp.asarray(place, jnp.float32) for place in (top, left)]
    if jnp.issubdtype(image.dtype, jnp.integer):
        rows, columns = (
            jnp.floor(start + (jnp.arange(number, dtype=jnp.float32) + 0.5) * (side / number)).astype(jnp.int32)
            for start, side, number in zip(corner, sides, size, strict=True)
        )
        return taken(image, rows, columns, "edge", 0)
    scale = jnp.stack([number / side for number, side in zip(size, sides, strict=True)])
    found = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (*size, image.shape[2]),
        (0, 1),
        scale,
        -jnp.stack(corner) * scale,
        method="linear",
        antialias=True,
    )
    return found.astype(image.dtype)
