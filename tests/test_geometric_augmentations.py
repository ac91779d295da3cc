"""Where augmentations put pixels, against NumPy, SciPy and Pillow.

Images carry two channels more, the row and the column of each pixel. Interpolation keeps what is linear, so that the
output says from where each pixel came, that is, what was drawn; the reference then does the same to the first channel.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mlgym_jax.augmentations import boxes, geometry
from mlgym_jax.augmentations.sampling import resized, sampled
from mlgym_jax.errors import ConfigError

RNG = np.random.default_rng(0)
HEIGHT, WIDTH, NUM = 12, 16, 64
IMAGES = RNG.normal(size=(NUM, HEIGHT, WIDTH, 1)).astype(np.float32)
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
WITH_PLACES = np.concatenate([IMAGES, np.broadcast_to(np.stack([ROWS, COLUMNS], -1), (NUM, HEIGHT, WIDTH, 2))], -1)
SCIPY = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror", "wrap": "grid-wrap"}


def changed(augmentation, inputs=WITH_PLACES, seed=0, **fields):
    batch = {"inputs": jnp.asarray(inputs), "mask": jnp.ones(len(inputs), bool), **fields}
    return jax.jit(augmentation)(jax.random.key(seed), batch)


def test_flips_are_numpys_and_as_many_as_said():
    for direction, axis in (("horizontal", 1), ("vertical", 0)):
        found = np.asarray(changed(geometry.flip(direction=direction, probability=0.5))["inputs"])
        mirrored = [bool((image != before).any()) for image, before in zip(found, WITH_PLACES, strict=True)]
        for image, before, other in zip(found, WITH_PLACES, mirrored, strict=True):
            np.testing.assert_array_equal(image, np.flip(before, axis) if other else before)
        assert 32 - 16 < sum(mirrored) < 32 + 16  # four standard deviations of a binomial
    assert (changed(geometry.flip(probability=0.0))["inputs"] == WITH_PLACES).all()
    assert (changed(geometry.flip(probability=1.0))["inputs"] == WITH_PLACES[:, :, ::-1]).all()


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_crops_are_slices_of_numpys_pad(mode):
    fill = {"constant_values": -7.0} if mode == "constant" else {}
    found = np.asarray(changed(geometry.crop(padding=3, mode=mode, fill=-7.0))["inputs"])
    starts = set()
    for image, before in zip(found, WITH_PLACES, strict=True):
        padded = np.pad(before, ((3, 3), (3, 3), (0, 0)), mode, **fill)
        inner = image[HEIGHT // 2, WIDTH // 2]
        top, left = int(inner[1]) + 3 - HEIGHT // 2, int(inner[2]) + 3 - WIDTH // 2
        np.testing.assert_array_equal(image, padded[top : top + HEIGHT, left : left + WIDTH])
        starts.add((top, left))
    tops, lefts = ({start[i] for start in starts} for i in range(2))
    assert tops == lefts == set(range(7))


def test_a_crop_of_another_size_lies_inside():
    found = np.asarray(changed(geometry.crop(size=(5, 4), padding=0))["inputs"])
    assert found.shape == (NUM, 5, 4, 3)
    for image, before in zip(found, WITH_PLACES, strict=True):
        top, left = map(int, image[0, 0, 1:])
        np.testing.assert_array_equal(image, before[top : top + 5, left : left + 4])


def test_an_image_and_its_map_are_moved_alike():
    maps = RNG.integers(0, 9, (NUM, HEIGHT, WIDTH)).astype(np.int32)
    whole = maps[..., None].astype(np.float32)
    both = ("inputs", "targets")
    for augmentation in (
        geometry.flip(fields=both),
        geometry.crop(padding=3, fields=both),
        geometry.translate(fields=both),
    ):
        found = changed(augmentation, whole, targets=jnp.asarray(maps))
        assert (
            found["targets"].dtype == jnp.int32
            and (np.asarray(found["inputs"])[..., 0] == np.asarray(found["targets"])).all()
        )
    turned = changed(geometry.rotate(degrees=40, fields=both), WITH_PLACES, targets=jnp.asarray(maps))
    for image, pixels, before in zip(np.asarray(turned["inputs"]), turned["targets"], maps, strict=True):
        rows, columns = image[3:9, 4:12, 1], image[3:9, 4:12, 2]  # which came from inside of the image
        sure = (abs(rows % 1 - 0.5) > 1e-3) & (abs(columns % 1 - 0.5) > 1e-3)
        expected = before[np.rint(rows).astype(int), np.rint(columns).astype(int)]
        np.testing.assert_array_equal(np.asarray(pixels)[3:9, 4:12][sure], expected[sure])


@pytest.mark.parametrize("mode", SCIPY)
def test_rotations_are_scipys(mode):
    found = np.asarray(changed(geometry.rotate(degrees=30, mode=mode, fill=2.0))["inputs"])
    angles = []
    for image, before in zip(found, WITH_PLACES, strict=True):
        down = image[HEIGHT // 2 + 1, WIDTH // 2, 1:] - image[HEIGHT // 2, WIDTH // 2, 1:]
        angle = np.degrees(np.arctan2(-down[1], down[0]))
        expected = ndimage.rotate(before[..., 0], angle, reshape=False, order=1, mode=SCIPY[mode], cval=2.0)
        np.testing.assert_allclose(image[..., 0], expected, atol=5e-4)
        angles.append(angle)
    assert -30 <= min(angles) < -20 and 20 < max(angles) <= 30
    # The angle's sign is Pillow's, anticlockwise.
    image = Image.fromarray(IMAGES[0, :, :12, 0]).rotate(20, Image.Resampling.BILINEAR)
    own = geometry.rotated(jnp.asarray(IMAGES[0, :, :12]), np.radians(20.0), "constant", 0.0)
    np.testing.assert_allclose(own[3:9, 3:9, 0], np.asarray(image)[3:9, 3:9], atol=1e-4)


@pytest.mark.parametrize("mode", SCIPY)
def test_places_between_pixels_are_read_as_scipy_reads_them(mode):
    y, x = RNG.uniform(-30, 40, (2, 500)).astype(np.float32)
    image = IMAGES[0, ..., 0].astype(np.float64)
    expected = ndimage.map_coordinates(image, [y, x], order=1, mode=SCIPY[mode], cval=3.0)
    np.testing.assert_allclose(sampled(jnp.asarray(IMAGES[0]), y, x, mode, 3.0)[:, 0], expected, atol=1e-4)


def test_translations_are_shifts_up_to_what_is_said():
    found = np.asarray(changed(geometry.translate(vertical=0.25, horizontal=0.125, fill=5.0))["inputs"])
    shifts = set()
    for image, before in zip(found, WITH_PLACES, strict=True):
        inner = image[HEIGHT // 2, WIDTH // 2]
        shift = int(HEIGHT // 2 - inner[1]), int(WIDTH // 2 - inner[2])
        np.testing.assert_array_equal(image[..., 0], ndimage.shift(before[..., 0], shift, order=0, cval=5.0))
        shifts.add(shift)
    assert {abs(shift[0]) for shift in shifts} == {0, 1, 2, 3} and {abs(shift[1]) for shift in shifts} == {0, 1, 2}


def pillows(image, size, top, left, tall, wide):
    box = tuple(map(float, (left, top, min(left + wide, WIDTH), min(top + tall, HEIGHT))))
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR, box=box))


@pytest.mark.parametrize("size", [(5, 4), (8, 10), (12, 16), (31, 20)])
def test_boxes_are_resized_as_pillow_does(size):
    for box in [(0, 0, HEIGHT, WIDTH), (1.3, 2.25, 9.1, 11.7), (3, 0, 2.5, 16), (6.5, 8.5, 5.5, 7.5)]:
        found = resized(jnp.asarray(IMAGES[0]), *box, size)[..., 0]
        np.testing.assert_allclose(found, pillows(IMAGES[0, ..., 0], size, *box), atol=2e-5)
        whole = resized(jnp.asarray(IMAGES[0] * 100).astype(jnp.int32), *box, size)[..., 0]
        rows, columns = (np.floor(box[i] + (np.arange(size[i]) + 0.5) * box[2 + i] / size[i]) for i in range(2))
        expected = (IMAGES[0, ..., 0] * 100).astype(np.int32)[np.ix_(rows.astype(int), columns.astype(int))]
        np.testing.assert_array_equal(whole, expected)


def test_random_boxes_have_the_area_and_the_shape_that_is_said():
    ratios, shares, size = [], [], (24, 32)  # larger than any box: then the rows and columns are exact
    found = np.asarray(changed(geometry.random_resized_crop(min_scale=0.2, max_scale=0.6, size=size))["inputs"])
    for image, before in zip(found, WITH_PLACES, strict=True):
        tall, wide = 24 * (image[12, 16, 1] - image[11, 16, 1]), 32 * (image[12, 16, 2] - image[12, 15, 2])
        top, left = image[11, 16, 1] + 0.5 - 11.5 * tall / 24, image[12, 15, 2] + 0.5 - 15.5 * wide / 32
        assert -1e-3 < top < HEIGHT - tall + 1e-3 and -1e-3 < left < WIDTH - wide + 1e-3
        expected = pillows(before[..., 0], size, max(top, 0), max(left, 0), tall, wide)
        np.testing.assert_allclose(image[..., 0], expected, atol=3e-3)
        ratios.append(wide / tall), shares.append(tall * wide / (HEIGHT * WIDTH))
    assert 0.2 - 1e-3 < min(shares) < 0.25 and 0.5 < max(shares) < 0.6 + 1e-3
    assert 0.75 - 1e-3 < min(ratios) < 0.85 and 1.2 < max(ratios) < 4 / 3 + 1e-3


def test_the_whole_image_resized_to_its_size_is_itself():
    whole = geometry.random_resized_crop(
        min_scale=1.0, max_scale=1.0, min_ratio=WIDTH / HEIGHT, max_ratio=WIDTH / HEIGHT
    )
    np.testing.assert_allclose(changed(whole)["inputs"], WITH_PLACES, atol=1e-5)


def test_erased_boxes_have_the_area_that_is_said():
    images = np.ones((400, 20, 20, 2), np.float32)
    found = np.asarray(changed(boxes.erase(probability=0.7, min_area=0.1, max_area=0.3), images)["inputs"])
    shares = []
    for image in found:
        gone = image[..., 0] == 0
        np.testing.assert_array_equal(gone, image[..., 1] == 0)
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        if len(rows):  # a whole box, and nothing else
            assert gone.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
            shares.append(gone.mean())
    assert abs(len(shares) - 0.7 * 400) < 4 * np.sqrt(400 * 0.7 * 0.3)
    # Sides are rounded to half a pixel each, of at least sqrt(0.1 * 0.3) * 20 = 3.5 of them.
    assert min(shares) > 0.1 * 0.85 and max(shares) < 0.3 * 1.15
    assert abs(np.mean(shares) - 0.2) < 4 * (0.2 / np.sqrt(12)) / np.sqrt(len(shares)) + 0.005


def test_an_erased_box_is_noise_where_that_is_asked_for():
    images = np.full((50, 20, 20, 1), 9.0, np.float32)
    found = np.asarray(changed(boxes.erase(probability=1.0, value="noise", min_area=0.3), images)["inputs"])
    noise = found[found != 9]
    assert abs(noise.mean()) < 4 / np.sqrt(len(noise)) and abs(noise.std() - 1) < 0.05


def test_bytes_are_no_noise():
    with pytest.raises(ConfigError, match="noise is of real numbers, the images are uint8"):
        changed(boxes.erase(value="noise"), np.ones((2, 4, 4, 1), np.uint8))


@pytest.mark.parametrize(
    ("factory", "parameters", "said"),
    [
        (geometry.flip, {"probability": 1.5}, "augmentation.probability: a number in [0, 1] is expected, found 1.5"),
        (geometry.flip, {"probability": float("nan")}, "augmentation.probability: a number in [0, 1]"),
        (geometry.flip, {"fields": ()}, "augmentation.fields"),
        (geometry.crop, {"padding": -1}, "augmentation.padding"),
        (geometry.crop, {"padding": 0}, "augmentation.padding: without a border"),
        (geometry.crop, {"size": (0, 3)}, "augmentation.size"),
        (geometry.random_resized_crop, {"min_scale": 0.0}, "augmentation.min_scale: a number above 0"),
        (geometry.random_resized_crop, {"min_scale": 0.9, "max_scale": 0.5}, "augmentation.min_scale: found 0.9, more"),
        (geometry.random_resized_crop, {"max_scale": 2.0}, "augmentation.max_scale"),
        (geometry.translate, {"vertical": -0.1}, "augmentation.vertical"),
        (geometry.rotate, {"degrees": 181}, "augmentation.degrees: a number in [0, 180]"),
        (geometry.rotate, {"fill": float("inf")}, "augmentation.fill"),
        (boxes.erase, {"min_ratio": 0.0}, "augmentation.min_ratio"),
        (boxes.erase, {"max_area": -0.2}, "augmentation.max_area"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(factory, parameters, said):
    with pytest.raises(ConfigError) as raised:
        factory(**parameters)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("augmentation", "inputs", "said"),
    [
        (
            geometry.flip(),
            np.ones((2, 64)),
            "flip takes images [batch, height, width, channels], the field 'inputs' is",
        ),
        (geometry.flip(), np.ones((2, 64)), "[batch, 64]"),
        (geometry.flip(fields=("inputs", "target")), WITH_PLACES, "no field 'target'; did you mean 'targets'?"),
        (geometry.crop(size=(40, 4)), WITH_PLACES, "found (40, 4), images with their border are (12, 16) + 2 * 4"),
        (geometry.flip(), {"image": WITH_PLACES}, "component('by_field', field='inputs.image', augmentation="),
    ],
)
def test_what_is_no_image_is_refused_in_words(augmentation, inputs, said):
    batch = {"inputs": inputs, "targets": np.zeros(2, np.int32), "mask": np.ones(len(jax.tree.leaves(inputs)[0]), bool)}
    with pytest.raises(ConfigError) as raised:
        augmentation(jax.random.key(0), batch)
    assert said in str(raised.value)
