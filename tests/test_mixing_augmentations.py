"""Mixed examples: shares and partners as they were drawn, targets by the papers' formulas, padding left out."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mlgym_jax.augmentations import features, mixing
from mlgym_jax.augmentations.fields import by_image
from mlgym_jax.core import modes
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError

RNG = np.random.default_rng(0)
NUM, NUM_CLASSES = 40, 5
CLASSES = RNG.integers(0, NUM_CLASSES, NUM).astype(np.int32)
OF_CLASSES = Dataset({"train": {}}, NUM_CLASSES)
EYE = np.eye(NUM, dtype=np.float32)


def changed(augmentation, inputs, targets, seed=0, mask=None, **fields):
    mask = np.ones(len(targets), bool) if mask is None else mask
    batch = {"inputs": jnp.asarray(inputs), "targets": jnp.asarray(targets), "mask": jnp.asarray(mask), **fields}
    return jax.jit(augmentation)(jax.random.key(seed), batch)


def shares_and_partners(rows):
    """Read what was drawn off rows that were those of the identity."""
    shares = np.diag(rows)
    others = rows - np.diag(shares)
    partners = np.where(others.max(1) > 0, others.argmax(1), np.arange(len(rows)))
    return shares, partners


@pytest.mark.parametrize("per", ["example", "batch"])
def test_inputs_and_targets_are_mixed_by_one_share(per):
    found = changed(mixing.mixup(OF_CLASSES, alpha=0.8, per=per), EYE, CLASSES)
    shares, partners = shares_and_partners(np.asarray(found["inputs"]))
    assert sorted(partners) == list(range(NUM))  # a permutation
    hot = np.eye(NUM_CLASSES)[CLASSES]
    expected = shares[:, None] * hot + (1 - shares[:, None]) * hot[partners]
    alone = partners == np.arange(NUM)
    np.testing.assert_allclose(np.asarray(found["targets"])[~alone], expected[~alone], atol=1e-6)
    np.testing.assert_allclose(np.asarray(found["targets"])[alone], hot[alone], atol=1e-6)
    assert (len({*np.round(shares[~alone], 5)}) == 1) == (per == "batch")


def test_the_loss_of_mixed_targets_is_the_authors_mix_of_losses():
    """The authors' program has lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b)."""
    from mlgym_jax.components.registry import lookup

    found = changed(mixing.mixup(OF_CLASSES, alpha=1.0), EYE, CLASSES, seed=3)
    shares, partners = shares_and_partners(np.asarray(found["inputs"]))
    logits = RNG.normal(size=(NUM, NUM_CLASSES))
    costs = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    rows = np.arange(NUM)
    expected = shares * costs[rows, CLASSES] + (1 - shares) * costs[rows, CLASSES[partners]]
    loss = lookup("loss", "softmax_cross_entropy").factory()
    np.testing.assert_allclose(loss(jnp.asarray(logits, jnp.float32), found), expected, rtol=1e-5)


def test_targets_that_are_numbers_are_mixed_themselves():
    targets = RNG.normal(size=(NUM, 2)).astype(np.float32)
    found = changed(mixing.mixup(alpha=0.5), EYE, targets)
    rows = np.asarray(found["inputs"])  # of which each is the weights of the examples that are in it
    np.testing.assert_allclose(found["targets"], rows @ targets, atol=1e-6)
    labels = RNG.random((NUM, 3)) < 0.5
    found = changed(mixing.mixup(), EYE, labels)
    np.testing.assert_allclose(found["targets"], np.asarray(found["inputs"]) @ labels, atol=1e-6)


def test_all_of_several_inputs_are_mixed_alike():
    inputs = {"one": jnp.asarray(EYE), "other": (jnp.asarray(2 * EYE), jnp.asarray(EYE[:, ::-1]))}
    batch = {"inputs": inputs, "mask": jnp.ones(NUM, bool)}
    found = mixing.mixup()(jax.random.key(0), batch)["inputs"]
    assert jax.tree.structure(found) == jax.tree.structure(inputs)
    np.testing.assert_allclose(found["other"][0], 2 * found["one"], atol=1e-6)
    np.testing.assert_allclose(found["other"][1], found["one"][:, ::-1], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_are_from_the_beta_distribution(alpha):
    shares = np.asarray(mixing.drawn_shares(jax.random.key(0), alpha, 4000, "example"), np.float64)
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_all_permutations_of_the_real_examples_are_drawn_alike_and_padding_stays():
    mask = jnp.asarray([True, False, True, True, False])
    found = jax.vmap(lambda key: mixing.shuffled_real(key, mask))(jax.random.split(jax.random.key(0), 1200))
    counts = collections.Counter(tuple(row) for row in np.asarray(found).tolist())
    expected = {(a, 1, b, c, 4) for a, b, c in itertools.permutations((0, 2, 3))}
    assert {*counts} == expected and stats.chisquare([*counts.values()]).pvalue > 1e-3


@pytest.mark.parametrize(
    "augmentation", [mixing.mixup(OF_CLASSES), mixing.cutmix(OF_CLASSES), features.swap_noise(rate=0.5)]
)
def test_nothing_of_padding_comes_into_an_example(augmentation):
    mask = np.arange(NUM) < 13
    inputs = np.where(mask[:, None, None, None], RNG.normal(size=(NUM, 6, 6, 1)), np.nan).astype(np.float32)
    found = changed(augmentation, inputs, CLASSES, mask=mask)
    assert np.isfinite(np.asarray(found["inputs"])[mask]).all()
    assert (np.asarray(found["inputs"])[mask] != inputs[mask]).any()
    other = changed(augmentation, np.where(np.isnan(inputs), 7, inputs), 4 - 0 * CLASSES, mask=mask)
    np.testing.assert_array_equal(np.asarray(other["inputs"])[mask], np.asarray(found["inputs"])[mask])


@pytest.mark.parametrize("per", ["example", "batch"])
def test_a_box_is_cut_and_the_targets_are_of_its_pixels(per):
    height, width = 20, 30
    images = np.broadcast_to(np.arange(NUM, dtype=np.float32)[:, None, None, None], (NUM, height, width, 2))
    found = changed(mixing.cutmix(OF_CLASSES, alpha=1.0, per=per), images, CLASSES)
    pixels, whole = np.asarray(found["inputs"]), 0
    assert (pixels[..., 0] == pixels[..., 1]).all()
    shares = []
    for number, image in enumerate(pixels[..., 0]):
        values = set(np.unique(image)) - {number}
        assert len(values) <= 1
        cut = image != number
        partner = int(min(values, default=number))
        expected = np.zeros(NUM_CLASSES)
        expected[CLASSES[number]] += 1 - cut.mean()
        expected[CLASSES[partner]] += cut.mean()
        np.testing.assert_allclose(found["targets"][number], expected, atol=1e-6)
        rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
        if len(rows):
            assert cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            if rows[0] > 0 and rows[-1] < height - 1 and columns[0] > 0 and columns[-1] < width - 1:
                assert abs(len(columns) / width - len(rows) / height) <= 1 / height  # of the image's shape
                whole += 1
            shares.append(cut.mean())
    assert (len({*shares}) == 1) == (per == "batch") and (whole > 3 or per == "batch")


def test_maps_of_classes_are_cut_with_their_images():
    images = RNG.normal(size=(NUM, 8, 8, 1)).astype(np.float32)
    found = changed(mixing.cutmix(), images, (images[..., 0] > 0).astype(np.int32))
    assert found["targets"].dtype == jnp.int32
    np.testing.assert_array_equal(found["targets"], np.asarray(found["inputs"])[..., 0] > 0)
    assert (np.asarray(found["inputs"]) != images).any()


def test_a_further_field_that_is_not_mixed_beside_maps_is_noted():
    images = RNG.normal(size=(NUM, 8, 8, 1)).astype(np.float32)
    depth = RNG.normal(size=(NUM, 1)).astype(np.float32)
    with modes.seeing() as seen:
        found = changed(mixing.cutmix(fields=("depth",)), images, (images[..., 0] > 0).astype(np.int32), depth=depth)
    np.testing.assert_array_equal(found["depth"], depth)
    assert seen.unmixed == {"depth": "cutmix"}


def test_swapped_numbers_are_of_one_other_example_and_as_many_as_said():
    inputs = np.arange(NUM * 50, dtype=np.float32).reshape(NUM, 50)
    found = np.asarray(changed(features.swap_noise(rate=0.3), inputs, CLASSES)["inputs"])
    np.testing.assert_array_equal(found % 50, inputs % 50)  # at the same place
    rows = (found // 50).astype(int)
    assert all(len({*row} - {number}) <= 1 for number, row in enumerate(rows))
    share = (rows != np.arange(NUM)[:, None]).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / rows.size) + 2 * 0.3 / NUM  # some are their own partner


def test_noise_and_dropout_of_numbers():
    ones = np.ones((NUM, 50), np.float32)
    noise = np.asarray(changed(features.gaussian_noise(scale=0.3), ones, CLASSES)["inputs"]) - 1
    assert stats.kstest(noise.reshape(-1), stats.norm(0, 0.3).cdf).pvalue > 1e-3
    dropped = np.asarray(changed(features.feature_dropout(rate=0.2, value=-3.0), ones, CLASSES)["inputs"])
    assert {*np.unique(dropped)} == {-3.0, 1.0}
    assert abs((dropped == -3).mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / ones.size)


@pytest.mark.parametrize(
    ("make", "inputs", "targets", "said"),
    [
        (lambda: mixing.mixup(alpha=0.0), EYE, CLASSES, "augmentation.alpha: a number above 0 is expected, found 0.0"),
        (lambda: mixing.cutmix(alpha=-1.0), EYE, CLASSES, "augmentation.alpha"),
        (lambda: mixing.mixup(alpha=1e-300), EYE, CLASSES, "augmentation.alpha"),  # 0 in float32
        (lambda: mixing.mixup(alpha=float("nan")), EYE, CLASSES, "augmentation.alpha"),
        (lambda: mixing.mixup(num_classes=0), EYE, CLASSES, "augmentation.num_classes: 1 … 16777216 are expected"),
        (lambda: mixing.mixup(), EYE, CLASSES, "write num_classes=…, in the Dataset or here"),
        (
            lambda: mixing.mixup(),
            EYE.astype(np.int32),
            CLASSES,
            "mixup changes real numbers, the field 'inputs' is int32",
        ),
        (lambda: mixing.cutmix(OF_CLASSES), EYE, CLASSES, "cutmix takes images [batch, height, width, channels]"),
        (lambda: features.swap_noise(rate=1.1), EYE, CLASSES, "augmentation.rate"),
        (lambda: features.gaussian_noise(scale=-1.0), EYE, CLASSES, "augmentation.scale"),
        (lambda: features.gaussian_noise(), CLASSES[:, None], CLASSES, "config.encoding = component('standardise')"),
    ],
)
def test_what_makes_no_sense_is_refused(make, inputs, targets, said):
    with pytest.raises(ConfigError) as raised:
        changed(make(), inputs, targets)
    assert said in str(raised.value)


@pytest.mark.parametrize(("columns", "field"), [((), "where"), ((1,), "importance")])
def test_weights_are_mixed_as_targets_are_and_what_counts_nothing_is_nobodys_partner(columns, field):
    weights = RNG.choice([0.0, 0.5, 3.0], NUM).astype(np.float32)
    given = {field: jnp.asarray(weights.reshape(NUM, *columns))}
    found = changed(mixing.mixup(OF_CLASSES, alpha=0.8, where=field), EYE, CLASSES, **given)
    shares, partners = shares_and_partners(np.asarray(found["inputs"]))
    assert np.array_equal(partners[weights == 0], np.arange(NUM)[weights == 0])
    assert sorted(partners) == list(range(NUM)) and (partners != np.arange(NUM)).any()
    expected = shares * weights + np.where(partners == np.arange(NUM), 0, (1 - shares) * weights[partners])
    np.testing.assert_allclose(np.asarray(found[field]).reshape(NUM), expected, rtol=1e-5)
    assert found[field].shape == (NUM, *columns)


@pytest.mark.parametrize("make", [mixing.mixup, mixing.cutmix])
def test_further_targets_are_mixed_by_the_shares_of_the_first(make):
    images = np.broadcast_to(EYE[:, None, None], (NUM, 6, 6, NUM)) if make is mixing.cutmix else EYE
    found = changed(
        make(OF_CLASSES, fields=("ink",)), images, np.arange(NUM).astype(np.float32), ink=jnp.arange(0.0, 3 * NUM, 3)
    )
    np.testing.assert_allclose(found["ink"], 3 * np.asarray(found["targets"]), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"augmentation\.fields: .* 'kind' is int32\[batch\]; let the dataset give"):
        changed(make(OF_CLASSES, fields=("kind",)), images, CLASSES, kind=jnp.asarray(CLASSES))


def test_pixels_that_count_are_pasted_with_their_classes():
    images, classes = (
        RNG.normal(size=(NUM, 6, 6, 1)).astype(np.float32),
        RNG.integers(0, 5, (NUM, 6, 6)).astype(np.int32),
    )
    where = images[..., 0] > 0
    found = changed(mixing.cutmix(OF_CLASSES), images, classes, where=jnp.asarray(where))
    np.testing.assert_array_equal(found["where"], np.asarray(found["inputs"])[..., 0] > 0)


def test_examples_with_positions_are_not_mixed():
    with pytest.raises(ConfigError, match="'where'"):
        changed(mixing.mixup(OF_CLASSES), EYE, CLASSES, where=jnp.ones((NUM, 2), bool))


def test_a_change_of_one_image_gets_a_key_of_its_own():
    keys = by_image("own", lambda key, image: (image + jax.random.uniform(key, image.shape),))
    found = np.asarray(changed(keys, np.zeros((NUM, 2, 2, 1), np.float32), CLASSES)["inputs"])
    assert len(np.unique(found)) == NUM * 4
