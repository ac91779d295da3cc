"""Values of a wrong kind inside of components, beyond 32 bits, or chosen by a search: refused at their place."""

import fractions

import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid, int_uniform, uniform
from mlgym_jax.config.file import override
from mlgym_jax.config.words import validated
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

SGD = component("sgd", learning_rate=0.1)
CONSTANT = component("constant_schedule", value=0.1)
WINE = component("wine")
BIG = 3_000_000_000


def study(**sections):
    config = ConfigDict(type_safe=False)
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=40, num_features=4, num_classes=3)
    config.model = component("mlp", features=(3,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = SGD
    for name, value in sections.items():
        config[name] = value
    return config


def rate(name, **parameters):
    return component("sgd", learning_rate=component(name, **parameters))


def listed(**changes):
    return component("list", experiments=(changes,))


NESTED = [
    # Components where plain data are taken, in every depth.
    (
        "validation.val: wrong type: found a component, loss 'l2_loss'; .* takes a number or None as val",
        dict(validation=component("holdout", val=component("l2_loss"))),
    ),
    ("validation.val: wrong type: found a component, schedule", dict(validation=component("holdout", val=CONSTANT))),
    (
        "model.features: wrong type: found a component, model 'mlp'; .* takes a tuple of integers",
        dict(model=component("mlp", features=component("mlp"))),
    ),
    (
        "model.features.1: wrong type: found a component",
        dict(model=component("mlp", features=grid((3,), (3, component("mlp"))))),
    ),
    (
        "metrics.a.output: wrong type: found a component",
        dict(metrics=dict(a=component("accuracy", output=component("mlp")))),
    ),
    # Plain data, or components of another kind, where components are taken.
    (
        "dataset.dataset: a component of kind 'dataset' is expected, found 'wine'; write component",
        dict(dataset=component("view", dataset="wine")),
    ),
    (
        "dataset.dataset: a component of kind 'dataset' is expected, found loss 'l2_loss'",
        dict(dataset=component("view", dataset=grid(WINE, component("loss/l2_loss")))),
    ),
    (
        "dataset.datasets.1: a component of kind 'dataset' is expected, found 5",
        dict(dataset=component("combine", datasets=(WINE, 5))),
    ),
    (
        "dataset.datasets: several components are expected, found one; write datasets=",
        dict(dataset=component("combine", datasets=WINE)),
    ),
    (
        "loss.losses.b: a component of kind 'loss' is expected, found 4",
        dict(loss=component("sum", losses=dict(a=component("softmax_cross_entropy"), b=4))),
    ),
    (
        "optimizer.learning_rate.schedules.0: a component of kind 'schedule' is expected, found 0.1",
        dict(optimizer=rate("join_schedules", schedules=(0.1, CONSTANT), boundaries=(3,))),
    ),
    (
        "optimizer.step_size_fn: a schedule is expected, found 5",
        dict(optimizer=component("scale_by_schedule", step_size_fn=5)),
    ),
    (
        "loss: a component of kind 'loss' is expected, found sampler 'weighted'",
        dict(loss=component("sampler/weighted")),
    ),
    (
        "metrics.a: a component of kind 'metric' is expected, found loss",
        dict(metrics=dict(a=component("loss/l2_loss"))),
    ),
    ("loss: .* 'softmax' is of kind 'post_processor'. Registered: ", dict(loss=component("softmax"))),
    (
        "encoding.groups.0.0: names or numbers of columns are expected, found Standardise",
        dict(encoding=component("by_column", groups=((component("standardise"), component("standardise")),))),
    ),
    ("optimizer.transforms.0: a component is expected", dict(optimizer=component("chain", transforms=({"a": 1},)))),
    (
        r"post_processors.a: argmax: axis=2 is no axis of outputs \[n, 3\]; axes are -2 to 1",
        dict(post_processors=dict(a=component("argmax", axis=2))),
    ),
    ("post_processors.a: softmax: axis=-3 is no axis", dict(post_processors=dict(a=component("softmax", axis=-3)))),
    (
        "optimizer.opt: a component is expected, .* found None",
        dict(optimizer=component("MultiSteps", opt=None, every_k_schedule=2)),
    ),
    (
        r"loss: loss 'generalized_kl_divergence': class numbers are of one axis of classes, found axis=\(1,\)",
        dict(loss=component("generalized_kl_divergence", axis=(1,))),
    ),
    # The forms of what optimizers hold.
    (
        "optimizer.transforms: expected: components by names; found 5; write transforms=dict",
        dict(optimizer=component("partition", transforms=5, param_labels=())),
    ),
    (
        "optimizer.transforms: expected: a tuple of components; found one component",
        dict(optimizer=component("chain", transforms=SGD)),
    ),
    (
        "optimizer.transforms: expected: a tuple of components; found a dict",
        dict(optimizer=component("chain", transforms=dict(a=SGD))),
    ),
    (
        r"optimizer.transforms: expected: a tuple of components; found \(\)",
        dict(optimizer=component("chain", transforms=())),
    ),
    (
        "optimizer.transforms.0: a pair of a name and a component is expected, found 'a'",
        dict(optimizer=component("named_chain", transforms=("a",))),
    ),
    (
        r"optimizer.param_labels.0.0: found '\[a', which is no regular expression",
        dict(optimizer=component("partition", transforms=dict(a=SGD), param_labels=(("[a", "a"),))),
    ),
    (
        r"optimizer.mask: found '\(', which is no regular expression",
        dict(optimizer=component("adamw", learning_rate=0.1, mask="(")),
    ),
    (
        "optimizer.mu_dtype: found 'float33', no type of floats; did you mean 'float32'",
        dict(optimizer=component("adam", learning_rate=0.1, mu_dtype="float33")),
    ),
    (
        "optimizer.mu_dtype: found 'int8', no type of floats",
        dict(optimizer=component("adam", learning_rate=0.1, mu_dtype="int8")),
    ),
    (
        r"learning_rate.boundaries_and_scales.0: a pair of a step below 2147483648 .*, found \('x', 3\)",
        dict(optimizer=rate("piecewise_constant_schedule", init_value=0.1, boundaries_and_scales={"x": 3})),
    ),
    (
        "learning_rate.cosine_kwargs: the parameters of each cycle are expected, found 5",
        dict(optimizer=rate("sgdr_schedule", cosine_kwargs=5)),
    ),
]
BITS = [
    (
        "decay_steps: found 3000000000, allowed are -2147483648 to 2147483647",
        dict(optimizer=rate("cosine_decay_schedule", init_value=0.1, decay_steps=BIG)),
    ),
    (
        "boundaries.0: found 3000000000, allowed are",
        dict(optimizer=rate("join_schedules", schedules=(CONSTANT, CONSTANT), boundaries=(BIG,))),
    ),
    (
        "boundaries_and_scales.0: a pair of a step below 2147483648",
        dict(optimizer=rate("piecewise_constant_schedule", init_value=0.1, boundaries_and_scales={str(BIG): 0.1})),
    ),
    (
        "optimizer.key: found 1180591620717411303424, allowed are",
        dict(optimizer=component("add_noise", eta=1, gamma=1, key=2**70)),
    ),
    (
        r"learning_rate: found 10{38}…, allowed are -3.40282e\+38 to 3.40282e\+38",
        dict(optimizer=component("sgd", learning_rate=10**400)),
    ),
    ("averaging.first_step: found 3000000000, allowed are", dict(averaging=component("mean", first_step=BIG))),
    ("metrics.a.k: found 3000000000, allowed are", dict(metrics=dict(a=component("top_k", k=BIG)))),
    ("model.features.0: found 3000000000, allowed are", dict(model=component("mlp", features=(BIG,)))),
    (
        "loader.batch_size: found 3000000000; a batch has at most 16,777,216 examples",
        dict(loader=component("in_memory", batch_size=BIG)),
    ),
    ("num_epochs: at most 2147483647 is expected, found 2147483648", dict(num_epochs=2**31)),
    (
        "dataset.mapping.0.1: found 1000000000; classes are counted from 0, up to",
        dict(dataset=component("map_labels", dataset=WINE, mapping=((0, 10**9), (1, 1), (2, 2)))),
    ),
    (
        "dataset.indices.0: found 1000000000000000000000000000000; split 'train' has the rows 0 … 177",
        dict(dataset=component("view", dataset=WINE, indices=(10**30,))),
    ),
]
RANDOM = component("random", num_experiments=2)
CHOSEN = [
    (
        "search.num_experiments: a search cannot be swept itself; write one value",
        dict(search=component("random", num_experiments=grid(1, 2)), seed=grid(1, 2)),
    ),
    ("search.experiments: a search cannot be swept itself", dict(search=component("list", experiments=grid(1, 2)))),
    (
        "seed: found 1000000000000000000000000000000, allowed are 0 to 4294967295",
        dict(search=RANDOM, seed=int_uniform(0, 10**30)),
    ),
    ("seed: an integer is expected, found 0.5", dict(search=RANDOM, seed=uniform(0.5, 2.5))),
    ("num_epochs: at least 1 is expected, found 0", dict(search=RANDOM, num_epochs=int_uniform(0, 3))),
    (
        "learning_rate: uniform.* needs numbers below 1e300",
        dict(search=RANDOM, optimizer=component("sgd", learning_rate=uniform(0, 10**400))),
    ),
    ("seed: found -1, allowed are 0 to", dict(search=listed(seed=-1))),
    ("num_epochs: at least 1 is expected, found 0", dict(search=listed(num_epochs=0))),
    ("model: a component is expected, found None", dict(search=listed(model=None))),
    (
        r"validation: a component is expected, found None; write config.validation = component\('holdout', val=0.0\)",
        dict(search=listed(validation=None)),
    ),
    (
        "search.experiments.0.model.features.7: no such field. Fields here: 0",
        dict(search=listed(**{"model.features.7": 3})),
    ),
    ("search.experiments.0.optimiser: no such field; did you mean 'optimizer'", dict(search=listed(optimiser=SGD))),
    ("seed: found -1, allowed are 0 to", dict(search=listed(seed=grid(1, -1)))),
]


@pytest.mark.parametrize("message, sections", [*NESTED, *BITS, *CHOSEN])
def test_it_is_refused_at_its_place(message, sections):
    with pytest.raises(ConfigError, match=rf"^config\.([\w.]+\.)?{message}") as error:
        prepare(study(**sections))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_grids_inside_of_a_list_multiply_it():
    found = prepare(study(search=listed(seed=grid(3, 4), num_epochs=2))).experiments
    assert [(item.seed, item.assignment.config["num_epochs"]) for item in found] == [(3, 2), (4, 2)]


def test_a_list_may_bring_a_section_that_the_config_has_not():
    kept = component("ema", decay=0.5)
    [found] = prepare(study(search=listed(averaging=kept))).experiments
    assert found.assignment.config["averaging"]["component"] == "ema"


def test_what_libraries_say_in_several_lines_is_said_in_one():
    assert (
        str(ConfigError("model", "ValueError: two\n   lines <f at 0x7f00>"))
        == "config.model: ValueError: two lines <f>"
    )


def test_components_of_ones_own_kinds_may_stand_for_numbers(own_registry):
    @mg.register("width", "of_three")
    def of_three() -> int:
        return 3

    shape = prepare(study(model=component("linear", num_outputs=component("width/of_three")))).jobs[0].abstract.params
    assert shape["Dense_0"]["bias"].shape == (3,)


def test_numbers_beyond_floats_are_refused_where_floats_are_held():
    config = study(optimizer=component("sgd", learning_rate=0.1))
    with pytest.raises(ConfigError, match=r"^config\.optimizer\.learning_rate: found 10+…, a number below 1\.8e308 is"):
        override(config, "optimizer.learning_rate", 10**400)
    with pytest.raises(
        ConfigError, match=r"^config\.optimizer\.learning_rate: found Fraction\(10+…, a number below 1\.8e308"
    ):
        validated(study(optimizer=component("sgd", learning_rate=fractions.Fraction(10**400))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: mg.load_config(study()), "the path of a config file is expected, found"),
        (lambda folder: mg.run(None), "the path of a config file is expected, found None"),
        (lambda folder: mg.load_run(["a"]), r"the path of a run is expected, found \['a'\]"),
        (lambda folder: mg.load_runs(3), "the path of a folder of runs is expected, found 3"),
        (lambda folder: mg.run(study(), folder, plan=3), "--plan=3: "),
        (lambda folder: mg.run(study(), folder, mesh=3), "--mesh=3: "),
        (lambda folder: mg.run(study(), folder, devices="2"), "--devices=2: "),
        (lambda folder: mg.run(study(), folder, run_id=3), "3"),
    ],
)
def test_arguments_of_another_type_are_told_so(call, message, tmp_path):
    with pytest.raises(mg.MlgymError, match=message):
        call(tmp_path)
