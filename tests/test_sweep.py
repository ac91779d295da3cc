"""Sweeps: the product of all grids in a stable order; groups that agree in everything static."""

import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym_jax.components.registry import register
from mlgym_jax.components.tree import owner_of, resolved
from mlgym_jax.config.words import canonical_json, component, grid, plain, uniform
from mlgym_jax.errors import ConfigError
from mlgym_jax.search.grouping import Experiment, dynamic_paths, make_groups, static_key
from mlgym_jax.search.sweep import count, expand, swept_paths, value_at

# No database: it would be written beside the sources.
quietly = settings(max_examples=60)


def study(**sections):
    """Return the plain form of a small study."""
    return plain(
        {
            "seed": 0,
            "split_seed": 0,
            "model": component("mlp", features=(8,), dropout_rate=0.0),
            "optimizer": component("adam", learning_rate=0.1),
            "loader": component("in_memory", batch_size=10),
            **sections,
        }
    )


def groups_of(config):
    assignments = expand(config)
    dynamic = dynamic_paths(assignments)
    experiments = [Experiment(number, assignment, 0, 1) for number, assignment in enumerate(assignments)]
    return make_groups(experiments, dynamic, {id(each): static_key(each, dynamic) for each in assignments})


# --- expanding -------------------------------------------------------------------------------------------------------


def test_without_a_sweep_there_is_one_assignment():
    [only] = expand(study())
    assert only.hyperparameters == {}
    assert only.config == study()


def test_the_product_of_all_grids_with_the_last_path_varying_fastest():
    config = study(seed=grid(7, 5), optimizer=component("adam", learning_rate=grid(0.1, 0.01), b1=grid(0.9, 0.8)))
    names = ["optimizer.b1", "optimizer.learning_rate", "seed"]
    expected = [dict(zip(names, values, strict=True)) for values in itertools.product((0.9, 0.8), (0.1, 0.01), (7, 5))]
    found = expand(config)
    assert [assignment.hyperparameters for assignment in found] == expected
    assert [list(assignment.hyperparameters) for assignment in found] == [names] * 8
    assert found[3].config == study(seed=5, optimizer=component("adam", learning_rate=0.01, b1=0.9))
    assert swept_paths(config) == [("optimizer", "b1"), ("optimizer", "learning_rate"), ("seed",)]


def test_the_order_does_not_depend_on_how_the_config_was_written():
    config = study(seed=grid(0, 1), model=component("mlp", features=grid((8,), (4,))))
    backwards = {name: config[name] for name in sorted(config, reverse=True)}
    assert [a.hyperparameters for a in expand(backwards)] == [a.hyperparameters for a in expand(config)]


def test_grids_inside_lists_and_components_inside_parameters():
    transforms = (component("clip", max_delta=grid(1.0, 2.0)), component("sgd", learning_rate=grid(0.1, 0.2)))
    found = expand(study(optimizer=component("chain", transforms=transforms)))
    assert [tuple(a.hyperparameters.values()) for a in found] == [(1.0, 0.1), (1.0, 0.2), (2.0, 0.1), (2.0, 0.2)]
    assert list(found[0].hyperparameters) == [
        "optimizer.transforms.0.max_delta",
        "optimizer.transforms.1.learning_rate",
    ]
    assert found[3].config["optimizer"]["transforms"][1] == {"component": "sgd", "learning_rate": 0.2}


def test_a_grid_of_whole_components_with_grids_inside():
    optimizer = grid(component("sgd", learning_rate=grid(0.1, 0.2)), component("adam", learning_rate=0.3))
    found = expand(study(optimizer=optimizer, seed=grid(0, 1)))
    rates = [a.config["optimizer"]["learning_rate"] for a in found]
    assert rates == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert found[0].hyperparameters == {
        "optimizer": {"component": "sgd", "learning_rate": 0.1},
        "optimizer.learning_rate": 0.1,
        "seed": 0,
    }
    assert found[5].hyperparameters == {"optimizer": {"component": "adam", "learning_rate": 0.3}, "seed": 1}


def test_a_grid_as_a_value_of_a_grid_is_flattened():
    assert [a.config["seed"] for a in expand(study(seed=grid(grid(3, 2), 1)))] == [3, 2, 1]


def test_none_is_a_value_like_others():
    found = expand(study(early_stopping=grid(None, component("nan"))))
    assert [a.config["early_stopping"] for a in found] == [None, {"component": "nan"}]


def test_equal_values_are_experiments_of_their_own():
    assert len(expand(study(seed=grid(1, 1)))) == 2


@pytest.mark.parametrize(
    "sections, path",
    [
        ({"seed": uniform(0, 1)}, r"config\.seed"),
        ({"model": grid(component("mlp", dropout_rate=uniform(0, 1)))}, r"config\.model\.dropout_rate"),
    ],
)
def test_a_range_without_a_search_is_refused(sections, path):
    with pytest.raises(ConfigError, match=path + r": uniform\(…\) is drawn by a random search"):
        expand(study(**sections))


def test_too_many_experiments_are_counted_without_being_made():
    many = grid(*range(10_000))
    config = study(seed=many, model=grid(component("mlp", features=many), component("linear")))
    assert count(config) == 10_000 * 10_001
    message = r"config\.model: the grids make 100,010,000 experiments \(10,001 of model x 10,000 of seed\); a run takes"
    with pytest.raises(ConfigError, match=message):
        expand(config)


values = st.one_of(st.integers(-3, 3), st.floats(-1, 1), st.booleans(), st.text(max_size=2), st.none())
plain_data = st.recursive(
    values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
grids = st.lists(plain_data, min_size=1, max_size=3).map(lambda items: grid(*items))
configs = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.one_of(values, grids, st.dictionaries(st.sampled_from("xyz"), st.one_of(values, grids), max_size=3)),
    max_size=4,
)


@quietly
@given(configs)
def test_expansion_is_the_product_of_the_values_in_a_stable_order(config):
    config = plain(config)
    paths = swept_paths(config)
    assert paths == sorted(paths)
    choices = [value_at(config, path)["values"] for path in paths]
    found = expand(config)
    assert len(found) == count(config) == math.prod(map(len, choices))
    expected = list(itertools.product(*choices))
    assert [tuple(a.hyperparameters.values()) for a in found] == expected
    assert [[".".join(path) for path in paths]] * len(found) == [list(a.hyperparameters) for a in found]
    for assignment, chosen in zip(found, expected, strict=True):
        assert swept_paths(assignment.config) == []
        assert tuple(value_at(assignment.config, path) for path in paths) == chosen
    # What has been written as JSON and read again expands alike.
    again = expand(plain(json.loads(canonical_json(config))))
    assert [canonical_json(a.config) for a in again] == [canonical_json(a.config) for a in found]


# --- grouping --------------------------------------------------------------------------------------------------------


def test_seeds_and_learning_rates_share_a_program():
    [group] = groups_of(study(seed=grid(*range(20)), optimizer=component("adam", learning_rate=grid(0.1, 0.2, 0.3))))
    assert group.ids == list(range(60))
    assert group.dynamic == ("optimizer.learning_rate", "seed")
    assert group.config["seed"] == 0


def test_layer_sizes_and_batch_sizes_do_not():
    model = component("mlp", features=grid((8,), (8, 8)))
    loader = component("in_memory", batch_size=grid(5, 10))
    groups = groups_of(study(model=model, loader=loader, seed=grid(0, 1)))
    assert [group.ids for group in groups] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [(g.config["loader"]["batch_size"], g.config["model"]["features"]) for g in groups] == [
        (5, (8,)),
        (5, (8, 8)),
        (10, (8,)),
        (10, (8, 8)),
    ]


def test_grids_inside_components_of_a_grid_stay_dynamic():
    optimizer = grid(component("sgd", learning_rate=grid(0.1, 0.2)), component("adam", learning_rate=grid(0.3, 0.4)))
    config = study(optimizer=optimizer)
    assert dynamic_paths(expand(config)) == ["optimizer.learning_rate"]
    assert [group.ids for group in groups_of(config)] == [[0, 1], [2, 3]]


def test_a_component_that_says_a_number_outright_is_a_group_apart():
    optimizer = grid(component("sgd", learning_rate=grid(0.1, 0.2)), component("sgd", learning_rate=0.3))
    assert [group.ids for group in groups_of(study(optimizer=optimizer))] == [[0, 1], [2]]


@pytest.mark.parametrize(
    "sections, dynamic",
    [
        ({"seed": grid(0, 1), "split_seed": grid(0, 1), "name": grid("a", "b")}, ["seed", "split_seed"]),
        (
            {"optimizer": component("adam", learning_rate=grid(0.1, 0.2), nesterov=grid(False, True))},
            ["optimizer.learning_rate"],
        ),
        ({"optimizer": component("sgd", learning_rate=grid(0.1, component("constant_schedule", value=1.0)))}, []),
        (
            {"optimizer": component("sgd", learning_rate=component("constant_schedule", value=grid(0.1, 1)))},
            ["optimizer.learning_rate.value"],
        ),
        ({"model": component("mlp", dropout_rate=grid(0.0, 0.1))}, ["model.dropout_rate"]),
        ({"model": component("mlp", features=(grid(8, 4),))}, []),
        (
            {"optimizer": {"component": plain(grid("sgd", "adam")), "learning_rate": plain(grid(0.1, 0.2))}},
            ["optimizer.learning_rate"],
        ),
        ({"loss": component("huber_loss", delta=grid(0.5, 1.0))}, ["loss.delta"]),
        ({"num_epochs": grid(1, 2)}, []),
    ],
)
def test_what_is_dynamic(sections, dynamic):
    assert dynamic_paths(expand(study(**sections))) == dynamic


@pytest.mark.usefixtures("own_registry")
def test_parameters_of_ones_own_are_dynamic_where_declared():
    register("model", "mine", dynamic=("rate",))(lambda *, rate=0.1, width=3: None)
    register("extra", "every", dynamic=True)(lambda *, rate=0.1, table=None: None)
    config = study(
        model=component("mine", rate=grid(0.1, 0.2), width=grid(1, 2)),
        extra=component("every", rate=grid(0.1, 0.2), table={"deep": grid(1, 2)}),
    )
    assert dynamic_paths(expand(config)) == ["extra.rate", "model.rate"]


def test_the_owner_of_a_path_is_the_component_whose_parameter_stands_there():
    transforms = (component("sgd", learning_rate=component("constant_schedule", value=1.0)),)
    config = resolved(
        study(optimizer=component("chain", transforms=transforms), metrics={"f": component("f1", average="macro")})
    )
    expected = {
        "model.features": ("model", "mlp"),
        "optimizer.transforms.0.learning_rate": ("optimizer", "sgd"),
        "optimizer.transforms.0.learning_rate.value": ("schedule", "constant_schedule"),
        "metrics.f.average": ("metric", "f1"),
        "seed": None,
        "model.component": None,
        "model.features.0": None,
    }
    for path, owner in expected.items():
        found = owner_of(config, path.split("."))
        assert (found and (found.kind, found.name)) == owner, path


def test_the_static_key_is_the_config_without_its_dynamic_values():
    one, other = expand(study(seed=grid(1, 2)))
    assert static_key(one, ["seed"]) == static_key(other, ["seed"]) == canonical_json(study(seed=None))
    assert static_key(one, []) != static_key(other, [])
    assert static_key(one, ["optimizer.learning_rate"]) == static_key(one, [])  # not swept in this experiment


swept = st.fixed_dictionaries(
    {
        "seed": st.lists(st.integers(0, 3), min_size=1, max_size=3),
        "rate": st.lists(st.sampled_from([0.1, 0.2, 1]), min_size=1, max_size=3),
        "features": st.lists(st.sampled_from([(8,), (4, 4), ()]), min_size=1, max_size=3),
        "batch_size": st.lists(st.integers(1, 3), min_size=1, max_size=2),
    }
)


@quietly
@given(swept)
def test_groups_are_a_partition_whose_members_agree_in_everything_static(choice):
    config = study(
        seed=grid(*choice["seed"]),
        optimizer=component("adam", learning_rate=grid(*choice["rate"])),
        model=component("mlp", features=grid(*choice["features"])),
        loader=component("in_memory", batch_size=grid(*choice["batch_size"])),
    )
    groups = groups_of(config)
    number = math.prod(map(len, choice.values()))
    assert sorted(itertools.chain.from_iterable(group.ids for group in groups)) == list(range(number))
    assert [group.index for group in groups] == list(range(len(groups)))
    assert [group.ids[0] for group in groups] == sorted(group.ids[0] for group in groups)
    static = [
        {
            (e.assignment.config["model"]["features"], e.assignment.config["loader"]["batch_size"])
            for e in group.experiments
        }
        for group in groups
    ]
    assert all(len(found) == 1 for found in static)
    assert len(set.union(*static)) == len(groups) == len({*choice["features"]}) * len({*choice["batch_size"]})
