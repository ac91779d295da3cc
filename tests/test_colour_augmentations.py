"""What augmentations do to colours, against Pillow, `colorsys` and SciPy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.augmentations import colours, photometric
from mlgym_jax.augmentations.rand_augment import OPERATIONS, operated, rand_augment
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
# Blurred noise of few levels, as photographs have: neighbours are alike, and some levels are absent.
BYTES = ndimage.gaussian_filter(RNG.integers(0, 256, (24, 20, 3)).astype(float), (2, 2, 0))
BYTES = np.clip((BYTES - BYTES.mean()) * 6 + 110, 7, 240).astype(np.uint8)
PICTURE, IMAGE = Image.fromarray(BYTES), jnp.asarray(BYTES.astype(np.float32) / 255)
LEVEL = 1 / 255


def changed(augmentation, inputs, seed=0):
    return jax.jit(augmentation)(
        jax.random.key(seed), {"inputs": jnp.asarray(inputs), "mask": jnp.ones(len(inputs), bool)}
    )["inputs"]


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7])
@pytest.mark.parametrize(
    ("own", "enhancer"),
    [
        (colours.brightness, ImageEnhance.Brightness),
        (colours.contrast, ImageEnhance.Contrast),
        (colours.saturation, ImageEnhance.Color),
        (colours.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_factors_are_pillows(own, enhancer, factor):
    expected = np.asarray(enhancer(PICTURE).enhance(factor)) / 255
    # Pillow rounds to a level the grey version, or its mean, and the result.
    np.testing.assert_allclose(jax.jit(own)(IMAGE, factor), expected, atol=(1.1 + 0.5 * abs(1 - factor)) * LEVEL)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.1, 0.37])
def test_hues_are_turned_as_in_colorsys(turn):
    pixels = np.concatenate([BYTES.reshape(-1, 3)[:60], np.array([[0, 0, 0], [255, 255, 255], [9, 9, 9], [0, 255, 0]])])
    hsv = [colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in pixels]
    expected = [colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value) for hue, saturation, value in hsv]
    found = jax.jit(colours.hue)((pixels[None] / 255).astype(np.float32), turn)
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


@pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
def test_posterised_images_are_pillows(bits):
    np.testing.assert_array_equal(
        np.rint(np.asarray(jax.jit(colours.posterise)(IMAGE, bits)) * 255),
        np.asarray(ImageOps.posterize(PICTURE, bits)),
    )


@pytest.mark.parametrize("threshold", [0, 60, 128, 200])
def test_solarised_images_are_pillows(threshold):
    found = jax.jit(colours.solarise)(IMAGE, (threshold - 0.5) / 255)  # between two levels
    np.testing.assert_array_equal(np.rint(np.asarray(found) * 255), np.asarray(ImageOps.solarize(PICTURE, threshold)))


PICTURES = {
    "many levels": BYTES,
    "noise": RNG.integers(0, 256, (40, 30, 3)).astype(np.uint8),
    "two levels": (BYTES > 100).astype(np.uint8) * 90 + 20,
    "one level": np.full((6, 5, 3), 77, np.uint8),
    "fewer pixels than levels": RNG.integers(0, 256, (5, 5, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
def test_equalised_images_are_pillows(name):
    image = PICTURES[name]
    found = jax.jit(colours.equalise)(image.astype(np.float32) / 255)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_array_equal(np.rint(np.asarray(found) * 255), expected)


@pytest.mark.parametrize("name", PICTURES)
def test_stretched_images_are_pillows(name):
    image = PICTURES[name]
    found = np.asarray(jax.jit(colours.autocontrast)(image.astype(np.float32) / 255)) * 255
    expected = np.asarray(ImageOps.autocontrast(Image.fromarray(image))).astype(float)
    assert (expected - 1e-3 <= found).all() and (
        found < expected + 1.001
    ).all()  # Pillow cuts off what is after the point


def test_luminance_is_pillows():
    found = np.asarray(changed(photometric.grayscale(probability=1.0), IMAGE[None]))[0]
    np.testing.assert_allclose(found[..., 0], np.asarray(PICTURE.convert("L")) / 255, atol=0.51 * LEVEL)
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize(("mode", "scipys"), [("reflect", "mirror"), ("edge", "nearest"), ("constant", "constant")])
def test_a_blur_is_scipys(mode, scipys):
    for sigma in (0.4, 1.5):
        expected = ndimage.gaussian_filter(BYTES / 255, sigma, axes=(0, 1), radius=4, mode=scipys)
        found = jax.jit(photometric.blurred, static_argnums=(2, 3))(IMAGE, jnp.float32(sigma), 4, mode)
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_sigmas_are_drawn_from_their_range():
    dots = np.zeros((200, 15, 15, 1), np.float32)
    dots[:, 7, 7] = 1
    found = np.asarray(changed(photometric.blur(min_sigma=1.0, max_sigma=1.5, radius=7), dots))[:, :, :, 0]
    places = np.arange(15.0) - 7
    sigmas = np.sqrt((found.sum(2) * places**2).sum(1))  # a Gaussian's second moment
    assert 0.99 < sigmas.min() < 1.05 and 1.45 < sigmas.max() < 1.51


def test_brightness_is_drawn_from_its_range_and_an_image_has_one():
    grey = np.full((400, 4, 4, 1), 0.4, np.float32)
    found = np.asarray(changed(photometric.colour(brightness=0.5, contrast=0.0), grey))
    factors = found[:, 0, 0, 0] / 0.4
    assert (np.abs(found - found[:, :1, :1]) < 1e-6).all()
    assert 0.5 - 1e-5 <= factors.min() < 0.53 and 1.47 < factors.max() <= 1.5 + 1e-5
    assert abs(factors.mean() - 1) < 4 / np.sqrt(12) / np.sqrt(400)


def test_bytes_and_other_ranges_are_changed_as_numbers_from_0_to_1_are():
    augmentation = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.5, "hue": 0.2}
    unit = np.asarray(changed(photometric.colour(**augmentation), IMAGE[None]))
    whole = changed(photometric.colour(**augmentation), BYTES[None])
    assert whole.dtype == jnp.uint8
    np.testing.assert_allclose(np.asarray(whole) / 255, unit, atol=0.51 * LEVEL)
    around_zero = changed(photometric.colour(**augmentation, value_range=(-1.0, 1.0)), IMAGE[None] * 2 - 1)
    np.testing.assert_allclose(np.asarray(around_zero) / 2 + 0.5, unit, atol=1e-5)


OPERATED = jax.jit(operated)


def at_magnitude_9(operation, sign=1.0, fill=0.0):
    return np.asarray(OPERATED(IMAGE, OPERATIONS.index(operation), jnp.float32(9 / 30), sign, fill))


# Of torchvision.transforms.RandAugment._augmentation_space(31, (24, 20)), at magnitude 9.
@pytest.mark.parametrize(
    ("operation", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("saturation", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_operations_of_colour_have_torchvisions_strengths(operation, enhancer):
    for sign in (1.0, -1.0):
        expected = np.asarray(enhancer(PICTURE).enhance(1 + sign * 0.27)) / 255
        np.testing.assert_allclose(at_magnitude_9(operation, sign), expected, atol=1.3 * LEVEL)


def test_operations_of_levels_have_torchvisions_strengths():
    found = {name: np.rint(at_magnitude_9(name) * 255) for name in ("posterise", "solarise", "equalise", "identity")}
    np.testing.assert_array_equal(found["posterise"], np.asarray(ImageOps.posterize(PICTURE, 7)))
    np.testing.assert_array_equal(found["solarise"], np.asarray(ImageOps.solarize(PICTURE, 178.5)))
    np.testing.assert_array_equal(found["equalise"], np.asarray(ImageOps.equalize(PICTURE)))
    np.testing.assert_array_equal(found["identity"], BYTES)


@pytest.mark.parametrize(
    ("operation", "matrix", "shift"),
    [
        ("shear_x", [[1, 0], [0.09, 1]], (0, 0)),
        ("shear_y", [[1, 0.09], [0, 1]], (0, 0)),
        ("translate_x", [[1, 0], [0, 1]], (0, 150 / 331 * 20 * 0.3)),
        ("translate_y", [[1, 0], [0, 1]], (150 / 331 * 24 * 0.3, 0)),
        ("rotate", [[np.cos(np.pi / 20), np.sin(np.pi / 20)], [-np.sin(np.pi / 20), np.cos(np.pi / 20)]], (0, 0)),
    ],
)
def test_operations_of_place_have_torchvisions_strengths(operation, matrix, shift):
    centre = np.array([11.5, 9.5])
    for sign in (1.0, -1.0):
        turned = np.array(matrix) * np.array([[1, sign], [sign, 1]])
        for channel in range(3):
            expected = ndimage.affine_transform(
                BYTES[..., channel] / 255,
                turned,
                centre - turned @ centre + sign * np.array(shift),
                order=1,
                mode="grid-constant",
                cval=0.5,
            )
            found = at_magnitude_9(operation, sign, fill=0.5)[..., channel]
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_operations_are_drawn_alike():
    # At magnitude 0 all but two of the fourteen leave an image as it is.
    images = np.broadcast_to(np.asarray(IMAGE), (700, *IMAGE.shape))
    found = np.asarray(changed(rand_augment(num_layers=1, magnitude=0.0), images))
    different = (np.abs(found - images) > 1e-3).any((1, 2, 3)).sum()
    assert abs(different - 100) < 4 * np.sqrt(700 * (1 / 7) * (6 / 7))


def test_images_of_one_channel_have_no_saturation():
    assert np.isfinite(changed(rand_augment(num_layers=3), IMAGE[None, ..., :1])).all()
    grey = OPERATED(IMAGE[..., :1], OPERATIONS.index("saturation"), jnp.float32(1), 1.0, 0.5)
    np.testing.assert_array_equal(grey, IMAGE[..., :1])


@pytest.mark.parametrize(
    ("factory", "parameters", "said"),
    [
        (photometric.colour, {"brightness": -0.1}, "augmentation.brightness: a number of at least 0"),
        (photometric.colour, {"hue": 0.6}, "augmentation.hue: a number in [0, 0.5] is expected, found 0.6"),
        (photometric.colour, {"contrast": float("nan")}, "augmentation.contrast"),
        (photometric.colour, {"value_range": (1.0, 0.0)}, "augmentation.value_range: found (1.0, 0.0)"),
        (photometric.colour, {"value_range": (0.0, float("inf"))}, "augmentation.value_range.1: a finite number"),
        (photometric.grayscale, {"probability": -1}, "augmentation.probability"),
        (photometric.blur, {"min_sigma": 0.0}, "augmentation.min_sigma: a number above 0"),
        (photometric.blur, {"min_sigma": 2.0}, "augmentation.min_sigma: found 2.0, more than max_sigma=1.0"),
        (photometric.blur, {"radius": 0}, "augmentation.radius"),
        (rand_augment, {"magnitude": 31}, "augmentation.magnitude: a number in [0, 30]"),
        (rand_augment, {"num_layers": 0}, "augmentation.num_layers"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(factory, parameters, said):
    with pytest.raises(ConfigError) as raised:
        factory(**parameters)
    assert said in str(raised.value)


@pytest.mark.parametrize("augmentation", [photometric.colour(saturation=0.5), photometric.grayscale()])
def test_colours_of_images_without_them_are_refused(augmentation):
    with pytest.raises(ConfigError, match="1 channels, not 3"):
        changed(augmentation, np.ones((2, 4, 4, 1), np.float32))


@pytest.mark.parametrize(
    ("scale", "encoding", "said"),
    [
        (1.0, None, None),
        (255.0, None, "the inputs are 0 … 255. Write config.encoding = component('min_max')"),
        (255.0, "min_max", None),
        (1.0, "standardise", "after config.encoding"),
    ],
)
def test_colours_out_of_their_range_are_seen_before_anything_is_cut_off(scale, encoding, said):
    @mg.register("dataset", "pictures")
    def pictures():
        images = RNG.random((20, 6, 6, 3)).astype(np.float32)
        images[0, 0, 0] = 0, 1, 0
        return mg.Dataset({"train": {"inputs": images * scale, "targets": np.arange(20) % 2}}, 2)

    config = ConfigDict(
        {
            "num_epochs": 1,
            "dataset": component("pictures"),
            "model": component("linear"),
            "loss": component("softmax_cross_entropy"),
            "optimizer": component("sgd", learning_rate=0.1),
            "augmentation": component("chain", augmentations=(component("rand_augment"),)),
        }
    )
    if encoding:
        config.encoding = component(encoding)
    if said is None:
        mg.build(config)
        return
    with pytest.raises(ConfigError) as raised:
        mg.build(config)
    assert "augmentation.augmentations.0.value_range" in str(raised.value) and said in str(raised.value)
