"""Folders of images: pixels as they were written, what is no image by its path, streams that decode in threads."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.dataset import to_arrays
from mlgym_jax.data.image_folder import image_folder
from mlgym_jax.errors import ConfigError

RNG = np.random.default_rng(0)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def animals(tmp_path):
    """Two classes of colour images, 4 high and 6 wide; returns the folder and the pixels in the order of paths."""
    tmp_path = tmp_path / "animals"
    pixels = []
    for name, count in (("cat", 3), ("dog", 9)):
        for number in range(count):
            image = RNG.integers(0, 256, (4, 6, 3), np.uint8)
            pixels.append(save(tmp_path / "train" / name / f"{number}.png", image))
    save(tmp_path / "test" / "dog" / "0.png", pixels[4])
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    return tmp_path, np.stack(pixels)


def test_pixels_are_those_that_were_written(animals):
    folder, pixels = animals
    found = image_folder(path=str(folder), scale=False)
    table = to_arrays(found)
    np.testing.assert_array_equal(table.arrays["inputs"], np.concatenate([pixels, pixels[4:5]]))
    assert table.arrays["inputs"].dtype == np.uint8
    assert table.arrays["targets"].tolist() == [0] * 3 + [1] * 9 + [1]
    assert (found.num_classes, found.class_names, table.offsets["test"]) == (2, ("cat", "dog"), (12, 13))
    scaled = to_arrays(image_folder(path=str(folder / "train"))).arrays["inputs"]
    np.testing.assert_array_equal(scaled, pixels.astype(np.float32) / 255)
    grey = to_arrays(image_folder(path=str(folder / "train"), channels=1, scale=False)).arrays["inputs"]
    weights = pixels @ np.array([0.299, 0.587, 0.114])  # of ITU-R 601-2, as Pillow's documentation has it
    np.testing.assert_allclose(grey[..., 0], weights, atol=1)
    bare = image_folder(path=str(folder / "train" / "cat"), scale=False)
    assert (bare.num_classes, list(to_arrays(bare).arrays)) == (None, ["inputs"])


def test_parts_are_known_in_any_letters_and_what_may_be_parts_is_told(tmp_path, caplog):
    for split in ("a/Train", "a/TEST", "b/Training", "b/Testing"):
        for name in ("cat", "dog"):
            save(tmp_path / split / name / "0.png", np.zeros((4, 6, 3), np.uint8))
    found = image_folder(path=str(tmp_path / "a"))
    assert (found.class_names, [*found.splits], caplog.messages) == (("cat", "dog"), ["train", "test"], [])
    assert image_folder(path=str(tmp_path / "b")).num_classes == 2
    [told] = caplog.messages
    assert "which are taken for classes, and each of them holds the folders cat, dog. If they are parts" in told


def test_images_are_cropped_padded_or_stretched(tmp_path):
    pixels = save(tmp_path / "a.png", RNG.integers(0, 256, (4, 6, 3), np.uint8))

    def read(**options):
        return to_arrays(image_folder(path=str(tmp_path), scale=False, **options)).arrays["inputs"][0]

    np.testing.assert_array_equal(read(size=4), pixels[:, 1:5])  # the middle
    np.testing.assert_array_equal(read(size=6, fit="pad")[1:5], pixels)
    assert not read(size=6, fit="pad")[[0, 5]].any()
    save(tmp_path / "a.png", np.full((4, 6, 3), 9, np.uint8))
    np.testing.assert_array_equal(read(size=(3, 2), fit="stretch"), np.full((3, 2, 3), 9))


def test_pictures_of_a_camera_stand_upright(tmp_path):
    pixels = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # what was taken was turned by 90 degrees, says EXIF 2.32, 4.6.4
    save(tmp_path / "a.png", pixels, exif=exif)
    found = to_arrays(image_folder(path=str(tmp_path), scale=False)).arrays["inputs"][0]
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))


def test_what_cannot_be_read_is_named(animals):
    folder, _ = animals
    path = str(folder / "train")
    (folder / "train" / "dog" / "3.png").write_bytes((folder / "train" / "dog" / "3.png").read_bytes()[:60])
    with pytest.raises(ConfigError, match=r"split 'train' could not be read: '.*/dog/3\.png' cannot be read as"):
        to_arrays(image_folder(path=path))
    (folder / "train" / "dog" / "3.png").write_bytes(b"GIF")
    with pytest.raises(ConfigError, match=r"/dog/3\.png' cannot be read as an image"):
        to_arrays(image_folder(path=path))
    save(folder / "train" / "dog" / "3.png", np.zeros((4, 6), np.uint16))
    with pytest.raises(ConfigError, match=r"more than 8 bits \(mode I;16\); convert it to 8"):
        to_arrays(image_folder(path=path))
    save(folder / "train" / "dog" / "3.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"/dog/3\.png' .*is 4 x 5 pixels, the first image is 4 x 6; write size="):
        to_arrays(image_folder(path=path))
    (folder / "train" / "dog" / "3.png").rename(folder / "test" / "dog" / "9.png")
    with pytest.raises(ConfigError, match=r"split 'test' could not be read: .*/dog/9\.png' .*is 4 x 5 pixels"):
        to_arrays(image_folder(path=str(folder)))


def test_bad_folders(animals):
    folder, pixels = animals
    for options, message in (
        ({"path": str(folder / "trian")}, r"dataset\.path: there is no file .*did you mean 'train'"),
        ({"path": str(folder / "train" / "cat" / "notes.txt")}, "is a file; name the folder"),
        ({"size": 0}, r"dataset\.size: found 0"),
        ({"size": (4, 5, 3)}, r"dataset\.size: found \(4, 5, 3\)"),
        ({"channels": 2}, r"dataset\.channels: found 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            image_folder(**{"path": str(folder), **options})
    save(folder / "test" / "bird" / "0.png", pixels[0])
    with pytest.raises(ConfigError, match="holds the class 'bird', and 'train' does not"):
        image_folder(path=str(folder))
    (folder / "extra").mkdir()
    with pytest.raises(ConfigError, match="'train', a split, and 'extra', which is none"):
        image_folder(path=str(folder))
    (folder / "train" / "cow").mkdir()
    with pytest.raises(ConfigError, match="cow' holds no images"):
        image_folder(path=str(folder / "train"))
    (folder / "train" / "cow").rmdir()
    save(folder / "train" / "loose.png", pixels[0])
    with pytest.raises(ConfigError, match=r"loose\.png' lies beside the folders of classes"):
        image_folder(path=str(folder / "train"))
    with pytest.raises(ConfigError, match="holds no images"):
        image_folder(path=str(folder / "extra"))
    (folder / "extra" / "cow").mkdir()
    with pytest.raises(ConfigError, match="extra/cow' holds no images; remove it or fill it"):
        image_folder(path=str(folder / "extra"))


def test_a_stream_decodes_what_memory_holds(animals, tmp_path, monkeypatch):
    folder, _ = animals
    config = ConfigDict({"num_epochs": 2}, type_safe=False)
    config.dataset = component("image_folder", path=str(folder))
    config.validation = component("holdout", val=0.25)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("sgd", learning_rate=0.0)
    last = {}
    for loader in ("in_memory", "streaming"):
        config.loader = component(loader, batch_size=4)
        result = mg.run(config, tmp_path / "runs", run_id=loader)
        last[loader] = result.experiments[0].last
        assert mg.resume(tmp_path / "runs" / loader, 3).mismatches == []
    assert last["streaming"] == pytest.approx(last["in_memory"], rel=1e-5)
    assert {"val/loss", "test/loss"} < {*last["streaming"]}
