"""The registry: functions and Flax classes become components by a decorator; wrong names are answered."""

import pytest
from flax import linen as nn
from flax import nnx

from mlgym_jax.components import registry
from mlgym_jax.components.parameters import check_parameters
from mlgym_jax.components.registry import find_kind, lookup, register
from mlgym_jax.config.file import load_config
from mlgym_jax.errors import ConfigError, MlgymError, closest, described, likely, listed, nearest

pytestmark = pytest.mark.usefixtures("own_registry")


# --- registering -----------------------------------------------------------------------------------------------------


def test_a_function_is_registered_and_stays_as_it_is():
    def make(dataset, *, width: int = 3, rate=0.5):
        """Make it.

        And more.
        """
        return dataset, width, rate

    assert register("model", "made", needs=("dataset",), dynamic=("rate",))(make) is make
    entry = lookup("model", "made")
    assert entry.factory(dataset="d", width=4) == ("d", 4, 0.5)
    assert list(entry.parameters) == ["width", "rate", "inputs"]  # the last one is of every model
    assert dict(entry.needs) == {"dataset": "dataset"}
    assert [entry.is_dynamic(name) for name in ("rate", "width")] == [True, False]
    assert [entry.wants_integer(name) for name in ("rate", "width", "none")] == [False, True, False]
    assert entry.summary() == "Make it."


@pytest.mark.parametrize(
    "annotation, default, expected",
    [
        (int, 1, True),
        (int | None, None, True),
        (float, 1, False),
        (int | float, 1, False),
        (None, 1, True),
        (None, 1.0, False),
        (None, True, False),
    ],
)
def test_what_counts_is_told_by_its_annotation_or_else_by_its_default(annotation, default, expected):
    def make(*, number=default):
        return number

    make.__annotations__ = {} if annotation is None else {"number": annotation}
    register("model", "made")(make)
    assert lookup("model", "made").wants_integer("number") is expected


def test_the_name_is_the_functions_own_unless_said():
    @register("model")
    def my_own():
        return 1

    assert lookup("model", "my_own").factory() == 1


def test_needs_may_name_another_section_for_a_parameter():
    @register("model", "wired", needs={"data": "dataset"})
    def wired(data):
        return data

    assert dict(lookup("model", "wired").needs) == {"data": "dataset"}


def test_every_number_is_dynamic_where_dynamic_is_true():
    register("loss", "numbers", dynamic=True)(lambda *, a=1.0, b=2.0: None)
    assert lookup("loss", "numbers").is_dynamic("a") and lookup("loss", "numbers").is_dynamic("b")


def test_a_linen_class_is_registered_as_it_is():
    @register("model")
    class Net(nn.Module):
        width: int
        rate: float = 0.5

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width)(x) * self.rate

    entry = lookup("model", "Net")
    assert list(entry.parameters) == ["width", "rate", "inputs"]  # the last one is of every model
    given = check_parameters(entry, {"width": 2, "rate": 1}, "model")
    net = entry.factory(**given)
    assert isinstance(net, Net) and net.rate == 1.0
    with pytest.raises(
        ConfigError, match=r"config\.model\.width: wrong type: found 'two', model 'Net' takes an integer"
    ):
        check_parameters(entry, {"width": "two"}, "model")
    with pytest.raises(ConfigError, match=r"config\.model\.width: missing; model 'Net' requires it"):
        check_parameters(entry, {}, "model")


def test_an_nnx_class_waits_for_its_rngs():
    @register("model")
    class Net(nnx.Module):
        def __init__(self, width: int, *, rngs: nnx.Rngs):
            self.layer = nnx.Linear(3, width, rngs=rngs)

    entry = lookup("model", "Net")
    assert list(entry.parameters) == ["width", "inputs"]
    built = entry.factory(width=2)(nnx.Rngs(0))
    assert isinstance(built, Net) and built.layer.kernel.shape == (3, 2)
    with pytest.raises(ConfigError, match=r"config\.model\.width: wrong type"):
        check_parameters(entry, {"width": 2.5}, "model")


def test_a_file_read_again_may_replace_its_components_and_no_others(tmp_path):
    text = "from mlgym_jax import register\n@register('model', 'mine')\ndef mine():\n    return {}\n"
    text += "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()\n"
    for value in (1, 2):
        (tmp_path / "one.py").write_text(text.format(value))
        load_config(tmp_path / "one.py")
        assert lookup("model", "mine").factory() == value
    (tmp_path / "linked.py").symlink_to(tmp_path / "one.py")
    load_config(tmp_path / "linked.py")
    (tmp_path / "other.py").write_text(text.format(3))
    with pytest.raises(MlgymError, match=r"line 2: @register\('model', 'mine'\): the name is taken by .*one\.py"):
        load_config(tmp_path / "other.py")
    assert lookup("model", "mine").factory() == 2


def test_the_name_of_a_builtin_component_is_taken():
    with pytest.raises(
        MlgymError, match=r"'adam'\): the name is taken by mlgym_jax itself; choose another name, such as 'my_adam'"
    ):
        register("optimizer", "adam")(lambda: None)
    assert lookup("optimizer", "adam").factory(learning_rate=0.1).init is not None


def factory_of_nothing():
    return None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"needs": ("datset",)}, r"needs=…\): 'datset' is no parameter of make; did you mean 'dataset'\?"),
        ({"dynamic": ("widht",)}, r"dynamic=…\): 'widht' is no parameter of make; did you mean 'width'\?"),
        ({"name": "a/b"}, r"kind and name are not empty and hold no '/'"),
    ],
)
def test_a_wrong_registration_is_refused(arguments, message):
    def make(dataset, *, width):
        return None

    with pytest.raises(MlgymError, match=message):
        register("model", **arguments)(make)


def test_the_decorator_without_its_kind_is_explained():
    with pytest.raises(MlgymError, match=r"@register needs a kind: write @register\('model', 'my_name'\)"):
        register(factory_of_nothing)  # pyright: ignore[reportArgumentType]


# --- looking up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, name, message",
    [
        ("optimizer", "adm", r"^config\.here: unknown optimizer 'adm'; did you mean 'adam'\? .*adamw.*\(\d+ in all\)"),
        ("optimizer", "Adam", r"did you mean 'adam'\?"),
        (
            "model",
            "zzz",
            r"unknown model 'zzz'\. Registered: .+ in all\)\. Register your own with @register\('model', 'zzz'\)",
        ),
        ("modle", "mlp", r"unknown kind 'modle'; did you mean 'model'\? Kinds: .*dataset"),
        ("loss", "accuracy", r"a component of kind 'loss' is expected; 'accuracy' is of kind 'metric'"),
        (
            "optimizer",
            "cosine_decay_schedule",
            r"of kind 'schedule'; write component\('…', learning_rate=component\('cos",
        ),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(kind, name, message):
    with pytest.raises(ConfigError, match=message):
        lookup(kind, name, "here")


@pytest.mark.parametrize(
    "name, section, parent, expected",
    [
        ("mlp", "model", None, ("model", "mlp")),
        ("accuracy", "metrics", None, ("metric", "accuracy")),
        ("l2_loss", "loss", None, ("loss", "l2_loss")),  # a kind that ends in s
        ("metric/f1", "anything", None, ("metric", "f1")),
        ("cosine_decay_schedule", "learning_rate", "optimizer", ("schedule", "cosine_decay_schedule")),
        ("sgd", "transforms", "optimizer", ("optimizer", "sgd")),
        ("only_here", "whatever", None, ("gadget", "only_here")),
        ("twice", "b_kind", None, ("b_kind", "twice")),
        ("twice", "whatever", "a_kind", ("a_kind", "twice")),
    ],
)
def test_the_kind_is_said_or_found(name, section, parent, expected):
    register("gadget", "only_here")(factory_of_nothing)
    for kind in ("a_kind", "b_kind"):
        register(kind, "twice")(factory_of_nothing)
    assert find_kind(name, section, "here", parent) == expected


@pytest.mark.parametrize(
    "name, section, message",
    [
        ("twice", "whatever", r"'twice' is registered for several kinds; write component\('a_kind/twice', …\) or comp"),
        (
            "twise",
            "a_kid",
            r"unknown component 'twise'; did you mean 'twice'\? 'a_kid' is no kind; did you mean 'a_kind'",
        ),
    ],
)
def test_a_kind_that_cannot_be_found_is_asked_for(name, section, message):
    for kind in ("a_kind", "b_kind"):
        register(kind, "twice")(factory_of_nothing)
    with pytest.raises(ConfigError, match=message):
        find_kind(name, section, "here")


def test_kinds_and_registrations_are_sorted():
    register("aardvark", "b")(factory_of_nothing)
    register("aardvark", "a")(factory_of_nothing)
    assert registry.kinds()[0] == "aardvark"
    assert [entry.name for entry in registry.registrations("aardvark")] == ["a", "b"]
    everything = [(entry.kind, entry.name) for entry in registry.registrations()]
    assert everything == sorted(everything) and ("metric", "accuracy") in everything


# --- words -----------------------------------------------------------------------------------------------------------


def test_nearest_ends_the_sentence():
    assert nearest("adm", ["sgd", "adam"]) == "; did you mean 'adam'?"
    assert nearest("F1", ["f1"]) == "; did you mean 'f1'?"
    assert nearest("map", ["map", "vmap"]) == "."
    assert nearest("zzz", ["adam"]) == nearest("zzz", []) == "."
    assert closest("optimzr", ["optimizer"], cutoff=0.8) == "optimizer"


def test_lists_and_values_are_kept_short():
    assert listed([]) == "none"
    assert listed(range(14)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … (14 in all)"
    assert likely("c", ["b", "a"]) == "a, b"
    assert "item_17" in likely("item17", [f"item_{n}" for n in range(100)]) and "(100 in all)" in likely(
        "x", range(100)
    )
    assert described({"a": [1]}) == "{'a': [1]}"
    assert described("x" * 200, 10) == "'xxxxxxxx…"
    assert described(test_lists_and_values_are_kept_short) == "<function test_lists_and_values_are_kept_short>"
