"""The graph of a config's components: every section built once, needs first, shared; only what changes is rebuilt."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax.components import registry
from mlgym_jax.components.graph import build_components, graph
from mlgym_jax.components.registry import register
from mlgym_jax.components.tree import resolved
from mlgym_jax.config.words import component, grid, plain
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.build import build

pytestmark = pytest.mark.usefixtures("own_registry")


@pytest.fixture
def calls():
    """Register a small world of components of kinds of their own; return the list of what was built, in order."""
    built = []

    def note(name, **parts):
        built.append(name)
        return types.SimpleNamespace(name=name, **parts)

    register("engine", "steam", dynamic=("power",))(lambda *, power=1.0: note("steam", power=power))
    register("wheel", "round")(lambda *, size=1: note("round", size=size))
    register("cart", "two", needs=("engine", "wheel"))(
        lambda engine, wheel, *, color="red": note("two", engine=engine, wheel=wheel, color=color)
    )
    register("train", "long", needs=("cart", "engine"))(lambda cart, engine: note("long", cart=cart, engine=engine))
    register("fleet", "all", needs=("wheels",))(lambda wheels: note("all", wheels=wheels))
    register("pair", "of", dynamic=("power",))(lambda *, parts, power=1.0: note("of", parts=parts, power=power))
    register("maybe", "so", needs=("engine",))(lambda engine=None: note("so", engine=engine))
    register("loop", "a", needs=("other",))(lambda other: note("a"))
    register("other", "b", needs=("loop",))(lambda loop: note("b"))
    return built


def small_study(**sections):
    return {
        "num_epochs": 1,
        "dataset": component("synthetic", num_examples=20, num_features=3),
        "model": component("linear"),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
        **sections,
    }


# --- building --------------------------------------------------------------------------------------------------------


def test_every_section_is_built_once_needs_first_and_shared(calls):
    config = {
        "train": component("long"),
        "cart": component("two"),
        "wheel": component("round"),
        "engine": component("steam"),
    }
    components = build_components(plain(config))
    assert sorted(calls) == sorted(["steam", "round", "two", "long"])
    assert calls.index("long") == 3 and calls.index("two") == 2
    assert components["train"].engine is components["cart"].engine is components["engine"]
    assert set(components) == set(config) and len(components) == 4
    with pytest.raises(KeyError):
        components["nothing"]


def test_the_order_does_not_depend_on_how_the_config_was_written(calls):
    config = {
        "engine": component("steam"),
        "wheel": component("round"),
        "cart": component("two"),
        "train": component("long"),
    }
    for names in (sorted(config), sorted(config, reverse=True)):
        order = list(graph(plain({name: config[name] for name in names})))
        assert order.index("cart") > max(order.index("engine"), order.index("wheel"))
        assert order.index("train") > order.index("cart")


def test_a_need_of_a_section_of_components_is_all_of_them(calls):
    config = {"wheels": {"front": component("round", size=2), "back": component("round")}, "fleet": component("all")}
    components = build_components(plain(config))
    assert {name: wheel.size for name, wheel in components["fleet"].wheels.items()} == {"front": 2, "back": 1}
    assert components["wheels"]["front"] is components["fleet"].wheels["front"]


def test_a_config_may_rewire_needs(calls):
    config = {
        "big": component("engine/steam", power=9.0),
        "engine": component("steam"),
        "wheel": component("round"),
        "cart": component("two", needs=dict(engine="big")),
    }
    components = build_components(plain(config))
    assert components["cart"].engine is components["big"]
    assert components["cart"].engine.power == 9.0


def test_an_optional_need_may_be_missing(calls):
    assert build_components(plain({"maybe": component("so")}))["maybe"].engine is None
    both = build_components(plain({"maybe": component("so"), "engine": component("steam")}))
    assert both["maybe"].engine is both["engine"]


def test_components_among_parameters_are_built_for_their_holder(calls):
    parts = (component("engine/steam", power=2.0), {"inner": component("round")}, 3)
    pair = build_components(plain({"pair": component("of", parts=parts)}))["pair"]
    assert (pair.parts[0].power, pair.parts[1]["inner"].size, pair.parts[2]) == (2.0, 1, 3)


def test_a_section_or_a_part_of_none_is_left_out(calls):
    config = {"wheels": {"front": component("round"), "back": None}, "engine": None, "fleet": component("all")}
    components = build_components(plain(config))
    assert list(components["fleet"].wheels) == ["front"]
    assert "engine" not in components


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"loop": component("a"), "other": component("b")},
            r"config\.loop: needs form a cycle: loop -> other -> loop; rewire one of them with needs=dict\(…\)",
        ),
        (
            {"cart": component("two"), "wheel": component("round"), "engines": component("engine/steam")},
            r"config\.cart: cart 'two' needs the section 'engine', which is missing; did you mean 'engines'\? "
            r"Write config\.engine = component\(…\), or rewire it with needs=dict\(engine='…'\)\. Sections: cart, ",
        ),
        (
            {"pair": component("of", parts=[component("cart/two")])},
            r"config\.pair\.parts\.0: cart 'two' needs the section 'engine'",
        ),
        (
            {"cart": component("two", needs=dict(engin="big"))},
            r"config\.cart\.needs\.engin: cart 'two' has no such need; did you mean 'engine'\? Needs: engine, wheel",
        ),
        ({"cart": component("two", needs="engine")}, r"config\.cart\.needs: write needs=dict\(need='section'\), found"),
        ({"cart": component("two", needs=dict(engine=3))}, r"config\.cart\.needs: write needs=dict\(need='section'\)"),
        ({"wheel": component("rund")}, r"config\.wheel: unknown wheel 'rund'; did you mean 'round'\?"),
        ({"wheel": component("round", sise=2)}, r"config\.wheel\.sise: unknown parameter .*did you mean 'size'\?"),
        (
            {"pair": component("of", parts={"x": [component("round", sise=2)]})},
            r"config\.pair\.parts\.x\.0\.sise: unknown parameter of wheel 'round'",
        ),
        ({"wheel": {"component": 3}}, r"config\.wheel\.component: a registered name is expected, found 3"),
        ({"wheel": component("nothing/round")}, r"config\.wheel: unknown kind 'nothing'"),
        (
            {"early_stoping": component("nan")},
            r"config\.early_stoping: no component needs this section, so it would do nothing; did you mean 'early_stop",
        ),
        ({"metric": {"a": component("accuracy")}}, r"config\.metric: .* did you mean 'metrics'\?"),
    ],
)
def test_a_wrong_graph_is_refused_before_anything_is_built(calls, config, message):
    with pytest.raises(ConfigError, match=message):
        build_components(plain(config))
    assert calls == []


def test_a_section_of_the_engine_without_components_is_explained(monkeypatch):
    monkeypatch.delitem(registry._registry, "sampler", raising=False)
    with pytest.raises(
        ConfigError, match=r"config\.sampler: there is no component of kind 'sampler' in this version\."
    ):
        graph(plain({"sampler": component("weighted")}))


def test_sections_of_ones_own_may_be_named_like_those_of_the_engine(calls):
    config = {
        "dataset_2": component("wheel/round"),
        "my_model": component("wheel/round"),
        "losss": component("wheel/round"),
    }
    register("user", "of_it", needs={"it": "losss"})(lambda it: it)
    config["user"] = component("of_it")
    assert set(build_components(plain(config))) == set(config)


def test_a_factory_that_raises_is_named():
    def failing():
        raise ValueError("no luck")

    register("model", "failing")(failing)
    with pytest.raises(ConfigError, match=r"config\.model: model 'failing' could not be built: ValueError: no luck"):
        build_components(plain({"model": component("failing")}))


@pytest.mark.parametrize(
    "section, message",
    [
        ("dataset", r"mg\.Dataset\(splits=.* is expected, dataset 'junk' returned 7"),
        ("validation", r"a callable \(dataset, seed\) -> .* is expected, validation 'junk' returned 7"),
        ("loader", r"what component\('in_memory'\) builds is expected"),
        ("loss", r"a callable \(outputs, batch\) -> float\[batch\] is expected, loss 'junk' returned 7"),
        (
            "encoding",
            r"an object with fit\(arrays\) and apply\(fitted, batch\) is expected, encoding 'junk' returned 7",
        ),
        ("sampler", r"a callable \(arrays\) -> float\[n\] is expected, sampler 'junk' returned 7"),
        ("optimizer", r"an optax\.GradientTransformation is expected, optimizer 'junk' returned 7"),
        ("early_stopping", r"a callable \(history\) -> bool is expected"),
        ("checkpointing", r"a callable \(history\) -> set of epochs is expected"),
    ],
)
def test_a_section_of_the_engine_that_returns_junk_is_named(section, message):
    register(section, "junk")(lambda: 7)
    with pytest.raises(ConfigError, match=rf"config\.{section}: {message}"):
        build_components(plain({section: component("junk")}))


def test_a_schedule_is_no_optimizer():
    schedule = component("schedule/constant_schedule", value=0.1)
    with pytest.raises(
        ConfigError, match=r"config\.optimizer: .* a schedule goes into one: component\('sgd', learning_"
    ):
        build_components(plain({"optimizer": schedule}))


def test_one_section_can_be_checked_by_itself(calls):
    resolved(plain({"cart": component("two", color="blue")}))
    with pytest.raises(ConfigError, match=r"config\.wheels\.front\.size: wrong type|config\.wheels\.front\.sice"):
        resolved(plain({"wheels": {"front": component("round", sice=2)}}))


# --- rebuilding ------------------------------------------------------------------------------------------------------


def test_bind_rebuilds_what_depends_on_the_values_and_nothing_else(calls):
    config = {
        "train": component("long"),
        "cart": component("two"),
        "wheel": component("round"),
        "engine": component("steam"),
    }
    components = build_components(plain(config))
    calls.clear()
    bound = components.bind({"engine.power": 5.0})
    assert calls == ["steam", "two", "long"]
    assert bound["wheel"] is components["wheel"]
    assert bound["train"].cart.engine.power == 5.0 and components["train"].cart.engine.power == 1.0
    assert bound.hyperparams == {"engine.power": 5.0}


def test_bind_reaches_components_among_parameters(calls):
    parts = [component("engine/steam"), {"x": component("engine/steam")}]
    components = build_components(plain({"pair": component("of", parts=parts)}))
    bound = components.bind({"pair.parts.0.power": 3.0, "pair.parts.1.x.power": 4.0, "pair.power": 2.0})["pair"]
    assert (bound.parts[0].power, bound.parts[1]["x"].power, bound.power) == (3.0, 4.0, 2.0)


def test_bind_takes_traced_values():
    components = build_components(plain(small_study()))

    def step(rate):
        optimizer = components.bind({"optimizer.learning_rate": rate})["optimizer"]
        updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
        return updates

    np.testing.assert_array_equal(jax.jit(step)(jnp.float32(0.25)), [-0.25, -0.25])


def test_equal_sections_are_taken_from_components_built_before(calls):
    config = {"cart": component("two"), "wheel": component("round"), "engine": component("steam")}
    first = build_components(plain(config))
    calls.clear()
    second = build_components(plain({**config, "wheel": component("round", size=2)}), reuse=first)
    assert calls == ["round", "two"]
    assert second["engine"] is first["engine"]


# --- whole studies ---------------------------------------------------------------------------------------------------


def test_build_leaves_the_dynamic_values_of_a_sweep_open():
    config = ConfigDict(small_study())
    config.seed = grid(3, 4)
    config.optimizer = component("sgd", learning_rate=grid(0.5, 0.1))
    components = build(config)
    assert components.hyperparams == {"optimizer.learning_rate": 0.5}
    assert components.config["seed"] == 3
    config.optimizer = grid(component("sgd", learning_rate=0.5), component("adam", learning_rate=grid(0.1, 0.2)))
    assert build(config).hyperparams == {}


@pytest.mark.parametrize("kind_of_module", ["linen", "nnx"])
def test_module_classes_registered_as_they_are_make_a_program(kind_of_module):
    if kind_of_module == "linen":

        @register("model", "net")
        class LinenNet(nn.Module):
            width: int

            @nn.compact
            def __call__(self, x):
                return nn.Dense(self.width)(x)
    else:

        @register("model", "net")
        class NnxNet(nnx.Module):
            def __init__(self, width: int, *, rngs: nnx.Rngs):
                self.layer = nnx.Linear(3, width, rngs=rngs)

            def __call__(self, x):
                return self.layer(x)

    components = build(small_study(model=component("net", width=2)))
    program = mg.make_program(components)
    batch = {"inputs": jnp.ones((4, 3)), "targets": jnp.zeros(4, jnp.int32)}
    state = program.init(jax.random.key(0), batch)
    assert program.predict(state, batch).shape == (4, 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == 3 * 2 + 2


def test_an_optimizer_of_ones_own_takes_a_schedule():
    register("optimizer", "mine")(lambda *, rate: optax.sgd(rate))
    optimizer = component("mine", rate=component("linear_schedule", init_value=1.0, end_value=0.0, transition_steps=2))
    built = build(small_study(optimizer=optimizer))["optimizer"]
    state = built.init(jnp.ones(()))
    with jax.numpy_dtype_promotion("standard"):
        first, state = built.update(jnp.ones(()), state)
        second, state = built.update(jnp.ones(()), state)
    assert (float(first), float(second)) == (-1.0, -0.5)
