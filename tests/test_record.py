"""`mg.record`: what it takes, beside NumPy's values, and what it says of what it does not take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlgym_jax as mg

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bins", [1, 2, 7])
def test_a_histogram_is_numpys_with_what_lies_beyond_at_its_ends(bins):
    values = RNG.normal(size=(20, 3)).astype(np.float32)
    mask = RNG.random(20) < 0.6
    found = jax.jit(lambda values, mask: mg.record.histogram(values, bins, low=-1.0, high=1.5, mask=mask))(values, mask)
    wanted, edges = np.histogram(np.clip(values[mask], -1.0, 1.5), bins=bins, range=(-1.0, 1.5))
    assert found.counts.tolist() == wanted.tolist() and found.edges == pytest.approx(edges)
    values[mask.argmax()] = np.nan
    assert mg.record.histogram(values, bins, low=-1.0, high=1.5, mask=mask).counts.sum() == 3 * mask.sum() - 3


def test_an_image_of_floats_is_clipped_and_rounded():
    found = mg.record.image(jnp.array([[0.0, 0.5], [1.5, -1.0], [0.1, jnp.nan]]))
    assert found.pixels[..., 0].tolist() == [[0, 128], [255, 0], [26, 0]] and found.pixels.dtype == jnp.uint8
    whole = RNG.integers(0, 256, (3, 2, 4)).astype(np.uint8)
    np.testing.assert_array_equal(mg.record.image(whole).pixels, whole)


def test_records_are_trees_that_are_batched():
    found = jax.vmap(lambda x: mg.record.curve(x, x * x, labels=("a",)))(jnp.arange(6.0).reshape(2, 3))
    assert found.y.tolist() == [[[0.0, 1.0, 4.0]], [[9.0, 16.0, 25.0]]] and found.labels == ("a",)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: r.curve(jnp.zeros(3), jnp.zeros(4)), "[points] or [lines, points], found float32[3] and float32[4]"),
        (
            lambda r: r.curve(jnp.zeros(3), jnp.zeros((2, 3)), labels=("a",)),
            "2 labels are expected, one a line, found 1",
        ),
        (lambda r: r.curve(jnp.zeros(3), jnp.zeros(3), thresholds=(1,)), "3 thresholds are expected, one a point"),
        (lambda r: r.matrix(jnp.zeros(3)), "[rows, columns] is expected, found float32[3]"),
        (lambda r: r.matrix(jnp.zeros((2, 2)), classes="abc"), "3 classes name rows and columns, found float32[2, 2]"),
        (lambda r: r.matrix(jnp.zeros((300, 300))), "at most 65,536 numbers are recorded, found 90,000"),
        (
            lambda r: r.histogram(jnp.zeros(3), 0, low=0, high=1),
            "1 to 65,536 bins and low < high are expected, found 0",
        ),
        (lambda r: r.histogram(jnp.zeros(3), low=1, high=1), "low < high are expected, found 64, 1, 1"),
        (
            lambda r: r.image(jnp.zeros((2, 2, 2))),
            "[height, width, 1, 3 or 4 channels] is expected, found float32[2, 2, 2]",
        ),
        (
            lambda r: r.image(jnp.zeros((2, 2), jnp.int32)),
            "floats from 0 to 1 or uint8 are expected, found int32[2, 2, 1]",
        ),
        (lambda r: r.image(jax.ShapeDtypeStruct((2049, 2048), jnp.uint8)), "at most 4,194,304 pixels are recorded"),
        (lambda r: r.table({}), "columns [rows] of one length are expected, found none"),
        (lambda r: r.table({"a": jnp.zeros(2), "b": jnp.zeros(3)}), "found a float32[2], b float32[3]"),
        (lambda r: r.table({"a": jnp.zeros(2)}, mask=jnp.zeros(3, bool)), "mask is expected as bool[2], found bool[3]"),
        (lambda r: r.text(3), "a plain text is expected, found 3"),
        (lambda r: r.text("{a} and {b}", a=1), "'{a} and {b}' names 'b', which is given no value"),
        (lambda r: r.text("{}", a=1), "is given no value"),
        (lambda r: r.text("{a:d}", a=jnp.zeros(())), "'{a:d}' cannot be filled in: Unknown format code 'd'"),
        (lambda r: r.text("{", a=1), "cannot be filled in: Single '{' encountered"),
    ],
)
def test_what_cannot_be_recorded_is_said(make, words):
    with pytest.raises(mg.MlgymError) as error:
        if "pixels" in words:
            jax.eval_shape(mg.record.image, jax.ShapeDtypeStruct((2049, 2048), jnp.uint8))
        make(mg.record)
    assert words in str(error.value)
