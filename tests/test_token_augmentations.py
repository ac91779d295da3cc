"""Masked language models and dropped words: how many tokens, which, and what is told of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.augmentations import tokens
from mlgym_jax.data import masked_tokens
from mlgym_jax.data.dataset import Dataset, to_arrays
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
PAD, MASK, SIZE = 0, 29, 30
TEXT = RNG.integers(1, MASK, (200, 50)).astype(np.int32)
TEXT[:, 40:] = PAD
IS_WORD = TEXT != PAD
VOCABULARY = Dataset({"train": {"inputs": TEXT}}, SIZE, mask_token=MASK)


def changed(augmentation, seed=0, **fields):
    batch = {"inputs": jnp.asarray(TEXT), "mask": jnp.ones(len(TEXT), bool), **fields}
    return {name: np.asarray(value) for name, value in jax.jit(augmentation)(jax.random.key(seed), batch).items()}


def of_augmentation(rate, masked, random):
    return changed(
        tokens.mask_tokens(VOCABULARY, rate=rate, masked=masked, random=random, special_tokens=(PAD,)), seed=1
    )


def of_dataset(rate, masked, random):
    found = masked_tokens.mask_tokens(
        dataset=VOCABULARY, rate=rate, masked=masked, random=random, special_tokens=(PAD,)
    )
    return found.splits["train"]


def within(found, share, number):
    """Tell whether a share of so many draws is within four standard deviations of a binomial."""
    return abs(found - share) < 4 * np.sqrt(share * (1 - share) / number)


@pytest.mark.parametrize("masking", [of_augmentation, of_dataset])
def test_as_many_tokens_are_masked_replaced_and_kept_as_bert_has(masking):
    found = masking(rate=0.15, masked=0.8, random=0.1)
    chosen = found["where"]
    np.testing.assert_array_equal(found["targets"], TEXT)
    np.testing.assert_array_equal(found["inputs"][~chosen], TEXT[~chosen])
    assert chosen.dtype == bool and not chosen[~IS_WORD].any()
    number = chosen.sum()
    assert within(chosen[IS_WORD].mean(), 0.15, IS_WORD.sum())
    new, before = found["inputs"][chosen], TEXT[chosen]
    assert within((new == MASK).mean(), 0.8, number)
    other = (new != MASK) & (new != before)
    assert within(other.mean(), 0.1 * 27 / 28, number)  # a drawn token is the same one 1 of 28 times
    assert {*new[other]} <= {*range(1, MASK)} and len({*new[other]}) > 20
    assert within((new == before).mean(), 0.1 + 0.1 / 28, number)


@pytest.mark.parametrize("masking", [of_augmentation, of_dataset])
def test_all_of_the_text_and_none_of_it_can_be_masked(masking):
    everything = masking(rate=1.0, masked=1.0, random=0.0)
    np.testing.assert_array_equal(everything["inputs"], np.where(IS_WORD, MASK, PAD))
    nothing = masking(rate=0.0, masked=1.0, random=0.0)
    np.testing.assert_array_equal(nothing["inputs"], TEXT)
    assert not nothing["where"].any()


def test_what_the_data_leave_out_is_never_chosen():
    where = RNG.random(TEXT.shape) < 0.5
    found = changed(tokens.mask_tokens(VOCABULARY, rate=1.0), where=jnp.asarray(where))
    np.testing.assert_array_equal(found["where"], where)
    padded = Dataset({"train": {"inputs": TEXT, "where": where}}, SIZE, mask_token=MASK)
    whole = masked_tokens.mask_tokens(dataset=padded, rate=1.0)
    np.testing.assert_array_equal(whole.splits["train"]["where"], where)


def test_a_masked_dataset_is_masked_anew_from_the_tokens_that_it_keeps():
    whole = {**VOCABULARY.splits, "val": {"inputs": TEXT[:9]}}
    data = masked_tokens.mask_tokens(dataset=Dataset(whole, SIZE - 1), special_tokens=(PAD,))
    assert (data.num_classes, data.mask_token) == (SIZE, MASK)  # a new token after all others
    to_arrays(data)
    train = data.splits["train"]
    assert (train["where"][:9] != data.splits["val"]["where"]).any()  # other draws than those of the next split
    again = masked_tokens.mask_tokens(dataset=Dataset(whole, SIZE - 1), special_tokens=(PAD,))
    other = masked_tokens.mask_tokens(dataset=Dataset(whole, SIZE - 1), special_tokens=(PAD,), seed=1)
    np.testing.assert_array_equal(again.splits["train"]["inputs"], train["inputs"])
    assert (other.splits["train"]["where"] != train["where"]).any()
    augmentation = tokens.mask_tokens(data, special_tokens=(PAD,))
    anew = changed(augmentation, **{name: jnp.asarray(array) for name, array in train.items()})
    np.testing.assert_array_equal(anew["targets"], TEXT)
    assert within((anew["where"] & train["where"])[IS_WORD].mean(), 0.15**2, IS_WORD.sum())  # independent of it
    assert (anew["inputs"] == MASK).sum() < 0.15 * IS_WORD.sum()


def test_dropped_words_are_as_many_as_said_and_the_targets_stay():
    found = changed(tokens.drop_words(VOCABULARY, rate=0.3, special_tokens=(PAD,)), targets=jnp.asarray(TEXT))
    gone = found["inputs"] != TEXT
    assert (found["inputs"][gone] == MASK).all() and not gone[~IS_WORD].any()
    assert within(gone[IS_WORD].mean(), 0.3, IS_WORD.sum())
    np.testing.assert_array_equal(found["targets"], TEXT)
    assert (changed(tokens.drop_words(rate=1.0, token=7))["inputs"] == 7).all()


def masked_language_model(**changes):
    @mg.register("model", "neighbours", needs=("dataset",))
    def neighbours(dataset):
        class Neighbours(nn.Module):
            """What stands beside a token says which one it is."""

            @nn.compact
            def __call__(self, tokens):
                x = nn.Embed(dataset.num_classes, 16)(tokens)
                around = [jnp.roll(x, shift, 1) for shift in (-2, -1, 0, 1, 2)]
                return nn.Dense(dataset.num_classes)(nn.gelu(nn.Dense(64)(jnp.concatenate(around, -1))))

        return Neighbours()

    config = ConfigDict(
        {
            "num_steps": 60,
            "evaluate_every_steps": 30,
            "dataset": component(
                "mask_tokens", dataset=component("view", stop=60, dataset=component("text", length=32))
            ),
            "loader": component("in_memory", batch_size=16),
            "augmentation": component("mask_tokens"),
            "model": component("neighbours"),
            "loss": component("softmax_cross_entropy"),
            "metrics": {"accuracy": component("accuracy")},
            "optimizer": component("adam", learning_rate=0.01),
        }
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def test_a_masked_language_model_of_bytes_is_a_config(tmp_path):
    augmentation = component("mask_tokens", rate=grid(0.1, 0.4))
    result = mg.run(masked_language_model(augmentation=augmentation), event_storage=tmp_path)
    log = (tmp_path / result.run_id / "event_storage.log").read_text()
    assert log.count('"group_compiled"') == 1
    for experiment in result.experiments:
        # 60 lines of 32 bytes are learned by heart: what remains is far below the spread over 97 printable bytes.
        assert experiment.history["val/loss"][-1] < 3.3 < np.log(97)
    one, other = result.experiments
    assert one.history["val/loss"] != other.history["val/loss"]


def test_evaluation_counts_the_masked_places_alone(tmp_path):
    config = masked_language_model()
    program = mg.make_program(mg.build(config))
    arrays = mg.build(config)["dataset"].splits["train"]
    batch = {field: arrays[field][:16] for field in ("inputs", "targets", "where", "unmasked")}
    state = program.init(jax.random.key(0), batch)
    logits = np.asarray(program.predict(state, batch), np.float64)
    costs = -np.log(
        np.take_along_axis(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), batch["targets"][..., None], -1)
    )
    scores = program.compute(program.eval_step(state, batch))
    np.testing.assert_allclose(scores["loss"], costs[..., 0][batch["where"]].mean(), rtol=1e-5)
    right = (logits.argmax(-1) == batch["targets"])[batch["where"]]
    np.testing.assert_allclose(scores["accuracy"], right.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tokens.mask_tokens(), "augmentation.vocabulary_size: missing"),
        (lambda: tokens.mask_tokens(Dataset({}, 5)), "augmentation.mask_token: the dataset says no mask_token"),
        (lambda: tokens.mask_tokens(VOCABULARY, mask_token=30), "augmentation.mask_token: found 30; tokens are 0 … 29"),
        (lambda: tokens.mask_tokens(VOCABULARY, rate=1.5), "augmentation.rate: a number in [0, 1]"),
        (lambda: tokens.mask_tokens(VOCABULARY, random=0.3), "masked=0.8 and random=0.3 are more than 1 together"),
        (lambda: tokens.mask_tokens(VOCABULARY, special_tokens=(0, 99)), "augmentation.special_tokens.1: found 99"),
        (lambda: tokens.mask_tokens(VOCABULARY, special_tokens=tuple(range(30))), "no token left"),
        (lambda: tokens.drop_words(Dataset({}, 5)), "augmentation.token: the dataset says no mask_token"),
        (lambda: tokens.drop_words(token=0, rate=-0.1), "augmentation.rate"),
        (lambda: masked_tokens.mask_tokens(dataset=VOCABULARY, rate=2.0), "dataset.rate: a number in [0, 1]"),
        (lambda: masked_tokens.mask_tokens(dataset=VOCABULARY, random=0.3), "dataset.random"),
        (lambda: masked_tokens.mask_tokens(dataset=VOCABULARY, mask_token=31), "dataset.mask_token: found 31"),
        (lambda: masked_tokens.mask_tokens(dataset=VOCABULARY, seed=-1), "dataset.seed"),
        (lambda: masked_tokens.mask_tokens(dataset=Dataset({})), "how many tokens there are"),
        (
            lambda: masked_tokens.mask_tokens(dataset=Dataset({"train": {"inputs": np.ones((3, 4))}}, 5)),
            "split 'train' has float64[n, 4]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ConfigError) as raised:
        make()
    assert said in str(raised.value)


def test_inputs_that_are_no_tokens_are_refused():
    for augmentation in (tokens.mask_tokens(VOCABULARY), tokens.drop_words(VOCABULARY)):
        with pytest.raises(ConfigError, match="takes tokens int32"):
            changed(augmentation, inputs=jnp.ones((200, 4)))
