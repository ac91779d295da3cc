"""Players that take turns: against two optimizers by hand, in studies, swept, resumed; GAN losses by their formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup
from mlgym_jax.errors import ConfigError, MlgymError

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
INPUTS = (RNG.normal(size=(20, 3)) @ np.array([[1.0, 0.2, 0], [0, 0.5, 0.3], [0, 0, 2]]) + 1).astype(np.float32)


class Affine(nn.Module):
    """A generator of two numbers of noise."""

    @nn.compact
    def __call__(self, noise):
        return nn.Dense(3)(noise)


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.tanh(nn.Dense(4)(x)))[:, 0]


class Gan(nn.Module):
    """Both networks, and the noise that is drawn from a stream of its own."""

    @nn.compact
    def __call__(self, x):
        noise = jax.random.normal(self.make_rng("noise"), (x.shape[0], 2))
        generator, critic = Affine(name="generator"), Critic(name="discriminator")
        fake = generator(noise)
        return {"noise": noise, "fake": fake, "real_logits": critic(x), "fake_logits": critic(fake)}


def registered():
    @mg.register("dataset", "cloud")
    def cloud():
        return mg.Dataset(splits={"train": {"inputs": INPUTS, "targets": np.zeros(20, np.int32)}})

    @mg.register("model", "small_gan")
    def gan():
        return Gan()


def player(name, **parameters):
    return component("player", name=name, **{"parameters": f"^{name}/", **parameters})


def study(first=None, second=None, **changes):
    config = ConfigDict(
        {
            "num_epochs": 4,
            "dataset": component("cloud"),
            "validation": None,
            "loader": component("in_memory", batch_size=20, shuffle=False),
            "model": component("small_gan"),
            "loss": component(
                "sum",
                losses=dict(discriminator=component("gan_discriminator"), generator=component("gan_generator")),
            ),
            "optimizer": component("adam", learning_rate=0.02, b1=0.5),
            "training_step": component(
                "alternating",
                players=(
                    first or player("discriminator", updates=2),
                    second or player("generator", optimizer=component("sgd", learning_rate=0.1)),
                ),
            ),
        }
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def noise_of(state, batch):
    """What the model draws for the n-th update of a step, by the engine's own `parts.apply`."""
    found = []

    def step(state, batch, key, parts):
        for part in range(3):
            found.append(parts.apply(state.params, state, batch, part=part)[0]["noise"])
        return state, parts.measure(state, parts.apply(state.params, state, batch)[0], batch)

    spying = mg.make_program(
        {"model": Gan(), "loss": lambda outputs, batch: outputs["fake_logits"], "optimizer": optax.sgd(0.1)}
        | {"metrics": {}, "training_step": step}
    )
    blank = spying.init(jax.random.key(0), batch)
    spying.train_step(state.replace(opt_state=blank.opt_state), batch)
    return found


def told(critic, generator, noise):
    fake = Affine().apply({"params": generator}, noise)
    return -jnp.log(jax.nn.sigmoid(Critic().apply({"params": critic}, INPUTS))), Critic().apply(
        {"params": critic}, fake
    )


def of_critic(critic, generator, noise):
    real, fake = told(critic, generator, noise)
    return (real - jnp.log(1 - jax.nn.sigmoid(fake))).mean()


def of_generator(generator, critic, noise):
    return -jnp.log(jax.nn.sigmoid(told(critic, generator, noise)[1])).mean()


@jax.jit
def one_step_by_hand(critic, generator, states, drawn, rate):
    """Two updates of the discriminator by Adam, then one of the generator by SGD, with Flax and Optax alone."""
    adam, sgd = optax.adam(0.02, b1=0.5), optax.sgd(rate)
    of_adam, of_sgd = states
    for turn in range(2):
        gradient = jax.grad(of_critic)(critic, generator, drawn[turn])
        updates, of_adam = adam.update(gradient, of_adam, critic)
        critic = optax.apply_updates(critic, updates)
    scores = of_critic(critic, generator, drawn[2]), of_generator(generator, critic, drawn[2])
    gradient = jax.grad(of_generator)(generator, critic, drawn[2])
    updates, of_sgd = sgd.update(gradient, of_sgd, generator)
    return critic, optax.apply_updates(generator, updates), (of_adam, of_sgd), scores


BATCH = {"inputs": INPUTS, "targets": np.zeros(20, np.int32)}


@functools.cache
def first_state():
    """Return the state that an experiment with the seed 0 begins with."""
    return mg.make_program(mg.build(study())).init(jax.random.key(0), BATCH)


@functools.cache
def by_hand(rate):
    """Return the parameters after four steps, and the scores of each."""
    state, scores = first_state(), []
    critic, generator = (dict(state.params)[name] for name in ("discriminator", "generator"))
    states = optax.adam(0.02, b1=0.5).init(critic), optax.sgd(rate).init(generator)
    draw = jax.jit(noise_of)
    for number in range(4):
        drawn = draw(state.replace(step=jnp.int32(number)), BATCH)
        with jax.numpy_dtype_promotion("standard"):
            critic, generator, states, found = one_step_by_hand(critic, generator, states, drawn, rate)
        scores.append(found)
    return jax.device_get(({"discriminator": critic, "generator": generator}, scores))


@pytest.mark.parametrize("plan", ["vmap+scan", "map+scan", "none+step"])
def test_players_equal_two_optimizers_by_hand(tmp_path, plan):
    registered()
    second = player("generator", optimizer=component("sgd", learning_rate=grid(0.1, 0.3)))
    result = mg.run(study(second=second), event_storage=tmp_path, plan=plan)
    assert len(result.view.groups) == 1
    for experiment in result.experiments:
        [rate] = experiment.hyperparameters.values()
        params, _ = by_hand(rate)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), experiment.restore().params, params
        )


def test_a_step_reports_the_losses_that_its_last_update_began_with():
    registered()
    program = mg.make_program(mg.build(study()))
    critic, generator = by_hand(0.1)[1][0]
    after, metrics = jax.jit(program.train_step)(first_state(), BATCH)
    found = program.compute(metrics)
    np.testing.assert_allclose(found["loss/discriminator"], critic, rtol=1e-5)
    np.testing.assert_allclose(found["loss/generator"], generator, rtol=1e-5)
    assert int(after.step) == 1
    assert int(after.opt_state["discriminator"][0].count) == 2


def test_a_study_of_players_goes_on_to_the_same_bits(tmp_path):
    registered()
    whole = mg.run(study(checkpoint_interval_seconds=0.0), event_storage=tmp_path / "whole").experiments[0]
    half = mg.run(study(checkpoint_interval_seconds=0.0, num_epochs=2), event_storage=tmp_path / "half")
    resumed = mg.resume(half.run_dir, num_epochs=4).experiments[0]
    assert resumed.history == whole.history
    found, expected = resumed.restore(), whole.restore()
    jax.tree.map(np.testing.assert_array_equal, found.opt_state, expected.opt_state)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_a_player_may_have_a_loss_of_its_own_and_some_parameters_nobody(tmp_path):
    registered()
    first = player("discriminator", loss=component("gan_discriminator", form="hinge"), parameters="Dense_1")
    config = study(first=first, loss=component("gan_generator"))
    config.training_step.players = (
        first,
        player("generator", loss=component("gan_generator", form="hinge"), optimizer=component("sgd", learning_rate=1)),
    )
    config.training_step.frozen = "Dense_0/bias|^discriminator/Dense_0"
    with pytest.raises(ConfigError, match=r"config\.training_step\.frozen: '\^nowhere'"):
        config.training_step.frozen = "^nowhere"
        mg.run(config, event_storage=tmp_path)
    config.training_step.frozen = "^discriminator/Dense_0"
    state = mg.run(config, event_storage=tmp_path).experiments[0].restore()
    before = first_state().params
    jax.tree.map(
        np.testing.assert_array_equal, state.params["discriminator"]["Dense_0"], before["discriminator"]["Dense_0"]
    )
    assert not np.array_equal(
        state.params["discriminator"]["Dense_1"]["kernel"], before["discriminator"]["Dense_1"]["kernel"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(players=()), "training_step.players"),
        (dict(players=player("generator")), "several components are expected"),
        (dict(players=(player("generator"), player("generator"))), "two players are named 'generator'"),
        (dict(players=(player("generator"),)), "no player trains discriminator/Dense_0/bias"),
        (
            dict(players=(player("discriminator"), player("generator", parameters="^generatr/"))),
            "training_step.players.1.parameters: '^generatr/' is found in no parameter's path; did you mean",
        ),
        (
            dict(players=(player("discriminator"), player("genrator", parameters="^generator/"))),
            "training_step.players.1: player 'genrator' has no loss: config.loss has no part of that name; did you "
            "mean 'generator'?",
        ),
        (dict(players=(player("generator", parameters="("),)), "players.0.parameters: found '(', which is no regular"),
        (dict(players=(player("generator", updates=0),)), "players.0.updates: at least 1 is expected, found 0"),
        (dict(players=(player("generator", updates=True),)), "players.0.updates: wrong type"),
        (dict(players=(player("generator", update=2),)), "did you mean 'updates'?"),
        (dict(players=(player("generator", optimizer=0.1),)), "players.0.optimizer: a component of kind 'optimizer'"),
        (
            dict(
                players=(
                    player("discriminator", optimizer=component("adamw", learning_rate=0.1, mask="kernle$")),
                    player("generator"),
                )
            ),
            "training_step.players.0.optimizer.mask",
        ),
    ],
)
def test_what_are_no_players_is_refused_in_words(tmp_path, change, said):
    registered()
    config = study()
    config.training_step.players = change["players"]
    with pytest.raises(ConfigError) as raised:
        mg.run(config, event_storage=tmp_path)
    assert said in str(raised.value)


class Drawing(nnx.Module):
    """Draws noise in training and in evaluation, from a stream with a name of its own."""

    def __init__(self, rngs):
        self.rngs = rngs
        self.shift = nnx.Param(jnp.zeros((1, 2)))

    def __call__(self, x):
        return jax.random.normal(self.rngs.noise(), (x.shape[0], 2)) + self.shift


class LinenDrawing(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jax.random.normal(self.make_rng("noise"), (x.shape[0], 2)) + self.param(
            "shift", nn.initializers.zeros, (1, 2)
        )


@pytest.mark.parametrize("model", [LinenDrawing(), lambda rngs: Drawing(rngs)], ids=["linen", "nnx"])
def test_a_model_draws_from_streams_of_any_name_in_both_modes(model):
    parts = {"model": model, "loss": lambda outputs, batch: outputs.sum(axis=1), "optimizer": optax.sgd(0.0)}
    program = mg.make_program({**parts, "metrics": {}})
    batch = {"inputs": INPUTS}
    state = program.init(jax.random.key(0), batch)
    predict = jax.jit(program.predict)
    drawn = predict(state, batch)
    assert drawn.std() == pytest.approx(1, abs=0.3)
    again = predict(jax.jit(program.train_step)(state, batch)[0], batch)
    assert not np.allclose(drawn, again)  # another step, other noise
    np.testing.assert_array_equal(drawn, predict(state, batch))


REAL, FAKE = np.float32([0.3, -1.2, 2.0]), np.float32([-0.4, 0.9, 1.5])
SIGMOID = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
FORMULAS = {
    "non_saturating": (-np.log(SIGMOID(REAL)) - np.log(1 - SIGMOID(FAKE)), -np.log(SIGMOID(FAKE))),
    "minimax": (-np.log(SIGMOID(REAL)) - np.log(1 - SIGMOID(FAKE)), np.log(1 - SIGMOID(FAKE))),
    "hinge": (np.maximum(0, 1 - REAL) + np.maximum(0, 1 + FAKE), -FAKE),
    "least_squares": (((REAL - 1) ** 2 + FAKE**2) / 2, (FAKE - 1) ** 2 / 2),
    "wasserstein": (FAKE - REAL, -FAKE),
}


def loss_of(name, outputs, **parameters):
    batch = {"mask": np.ones(3, bool), "inputs": np.zeros((3, 1))}
    return lookup("loss", name).factory(**parameters)(outputs, batch)


@pytest.mark.parametrize("form", FORMULAS)
def test_gan_losses_are_those_of_their_papers(form):
    critic, generator = FORMULAS[form]
    outputs = {"real_logits": REAL, "fake_logits": FAKE}
    np.testing.assert_allclose(loss_of("gan_discriminator", outputs, form=form), critic, rtol=1e-5)
    np.testing.assert_allclose(loss_of("gan_generator", outputs, form=form), generator, rtol=1e-5)
    patches = {"real_logits": np.stack([REAL, REAL], 1), "fake_logits": np.stack([FAKE, FAKE], 1)[..., None]}
    np.testing.assert_allclose(loss_of("gan_discriminator", patches, form=form), critic, rtol=1e-5)


def test_one_sided_smoothing_is_optax_s_cross_entropy_with_less_than_one():
    outputs = {"real_logits": REAL, "fake_logits": FAKE}
    found = loss_of("gan_discriminator", outputs, label_smoothing=0.1)
    expected = optax.sigmoid_binary_cross_entropy(
        REAL, np.full(3, 0.9, np.float32)
    ) + optax.sigmoid_binary_cross_entropy(FAKE, np.zeros(3, np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ConfigError, match="has no labels to smooth"):
        loss_of("gan_discriminator", outputs, form="hinge", label_smoothing=0.1)
    with pytest.raises(ConfigError, match=r"in \[0, 1\)"):
        loss_of("gan_discriminator", outputs, label_smoothing=1.0)


def test_the_penalty_of_a_linear_critic_is_known():
    # The gradient of w x is w wherever it is taken: (|w| - 1)^2 = (5 - 1)^2.
    gradient = np.tile(np.float32([[3.0, 0.0, 4.0]]), (3, 1))
    np.testing.assert_allclose(loss_of("gradient_penalty", {"gradient": gradient}), [16.0] * 3)
    np.testing.assert_allclose(loss_of("gradient_penalty", {"gradient": gradient}, norm=0.0), [25.0] * 3)
    flat = jax.jit(jax.grad(lambda g: loss_of("gradient_penalty", {"gradient": g}).sum()))(np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(flat, np.zeros((3, 2)))
    with pytest.raises(ConfigError, match="at least 0"):
        loss_of("gradient_penalty", {}, norm=-1.0)


def test_logits_of_another_batch_are_refused():
    with pytest.raises(MlgymError, match=r"'fake_logits' is float32\[2\]; one row an example is expected, 3"):
        loss_of("gan_generator", {"fake_logits": FAKE[:2]})
    with pytest.raises(MlgymError, match="did you mean 'fake_logits'"):
        loss_of("gan_generator", {"fake_logits": FAKE}, fake="fake_logit")


class Wgan(nn.Module):
    """A critic and its gradient by its inputs, between real and made examples."""

    @nn.compact
    def __call__(self, x, noise_key):
        of_noise, of_share = jax.random.split(noise_key)
        generator, critic = Affine(name="generator"), Critic(name="critic")
        fake = generator(jax.random.normal(of_noise, (x.shape[0], 2)))
        real_logits, fake_logits = critic(x), critic(fake)
        share = jax.random.uniform(of_share, (x.shape[0], 1))
        _, back = nn.vjp(lambda critic, mixed: critic(mixed).sum(), critic, share * x + (1 - share) * fake)
        gradient = back(jnp.ones(()))[1]
        return {"real_logits": real_logits, "fake_logits": fake_logits, "gradient": gradient}


def test_a_critic_with_a_gradient_penalty_learns_a_distance(tmp_path):
    """The gradient's norm comes near to 1; a 1-Lipschitz critic tells distributions apart by their distance."""
    registered()
    mg.register("model", "wgan")(lambda: Wgan())
    losses = dict(
        distance=component("gan_discriminator", form="wasserstein"), penalty=component("gradient_penalty", weight=10.0)
    )
    critic = player("critic", loss=component("sum", losses=losses), updates=5)
    generator = player("generator", loss=component("gan_generator", form="wasserstein"))
    generator.optimizer = component("sgd", learning_rate=0.0)
    config = study(critic, generator, model=component("wgan"), loss=component("sum", losses=losses), num_epochs=15)
    mg.register("dataset", "ten_times")(
        lambda: mg.Dataset({"train": {"inputs": np.tile(INPUTS, (10, 1)), "targets": np.zeros(200, np.int32)}})
    )
    config.dataset = component("ten_times")  # an epoch is ten steps, on the same batch
    config.evaluation_splits = ()
    [experiment] = mg.run(config, tmp_path).experiments
    penalties = np.array(experiment.history["train/loss/penalty"])
    assert penalties[-2:].mean() < 0.1
    distance = -np.array(experiment.history["train/loss/distance"])[-2:].mean()
    params = experiment.restore().params["generator"]["Dense_0"]
    fake = np.random.default_rng(0).normal(size=(20_000, 2)) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    assert np.linalg.norm(INPUTS.mean(axis=0) - fake.mean(axis=0)) * 0.5 < distance < 5
