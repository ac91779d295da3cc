"""Meshes of two axes: batches and states that are split over devices give what one device gives."""

import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from forks import ROOT, run

from mlgym_jax import component
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import TrainState
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.execution.mesh import MeshSizes, described, mesh_of, parse_mesh, use_devices
from mlgym_jax.execution.parallel import Needs, Parallel
from mlgym_jax.execution.plan import AUTO, Plan, PlanRequest, choose_plan, logged_plan, recorded_request, request_of
from mlgym_jax.execution.sharding import bytes_on_a_device, check_rules, split_over_data, state_specs
from mlgym_jax.recording.ready import num_devices_before
from mlgym_jax.recording.recorder import Recorder
from mlgym_jax.run_folder.folder import write_record, write_resolved
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """What the studies on 8 devices found, in one process."""
    env = {"JAX_NUM_CPU_DEVICES": "8", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    folder = tmp_path_factory.mktemp("mesh")
    done = run("engine", folder, code=(ROOT / "tests/mesh_studies.py").read_text(), env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("model", ["mesh_transformer", "mesh_resnet"])
def test_meshes_give_what_one_device_gives(studies, model):
    found = {name: case for name, case in studies["compared"].items() if name.startswith(model)}
    assert len(found) == 3
    for name, case in found.items():
        assert case["scores"] < 1e-5, name
        assert case["states"] < 1e-5, name
        assert case["bytes"] >= 6 if "fsdp" in name else case["bytes"] == 1, name
        if "none+scan" in name:
            assert case["flops"] > 0.7 * int(name[-1]), f"{name}: each device computes its part"


@pytest.mark.parametrize("devices, off", [("8", 0), ("4", 1e-5), ("1", 1e-5)])
def test_a_run_on_8_devices_goes_on_on_others(studies, devices, off):
    whole, resumed = studies["resumed"]["whole"], studies["resumed"][devices]
    assert [resumed["status"], resumed["mismatches"], len(resumed["rows"])] == ["DONE", 0, 3]
    for own, expected in zip(resumed["rows"], whole, strict=True):
        np.testing.assert_allclose(list(own.values()), list(expected.values()), rtol=0, atol=off)
    split = f"+fsdp+experiment:1,data:{devices}"
    assert resumed["plan"] == "none+scan" + (split if devices != "1" else "x1")


def test_the_store_takes_sharded_arrays_and_restores_them_on_the_host(studies):
    assert studies["stored"]


def test_a_mesh_is_read_as_it_is_written():
    assert parse_mesh("data:4,experiment:2") == parse_mesh(" experiment:2, data:4") == (2, 4)
    assert parse_mesh("data:3") == (1, 3)
    devices = jax.local_devices()
    assert described(mesh_of(devices, MeshSizes(2, 2))) == "experiment:2,data:2"
    assert described(mesh_of(devices, MeshSizes(3))) == described(Plan("map", "scan", 3, "")) == "experiment:3,data:1"


@pytest.mark.parametrize(
    "text",
    ["", "2,4", "experiment:2;data:4", "experiment:0", "data:-1", "data:2,data:2", "model:2", "data:1.5", "data:"],
)
def test_a_wrong_mesh_is_named(text):
    with pytest.raises(MlgymError, match=f"--mesh={re.escape(text)}: .* --mesh=experiment:2,data:4"):
        parse_mesh(text)


def test_a_mesh_without_its_devices_is_refused():
    with pytest.raises(MlgymError, match=r"8 devices are needed, 2 x 4, and this process has 4 .*:1,data:4$"):
        use_devices(None, MeshSizes(2, 4))
    with pytest.raises(MlgymError, match=r"--devices=2 leaves 2; .*--mesh=experiment:2,data:1$"):
        use_devices(2, MeshSizes(4))
    assert len(use_devices(None, MeshSizes(1, 3))) == 3


def test_devices_that_no_training_example_would_reach_are_refused():
    """Of 12 examples 10 train: in batches of 3 on 4 devices, or all of them on 16."""
    study = {
        "num_epochs": 1,
        "dataset": component("synthetic", num_examples=12, num_features=2, num_classes=2),
        "validation": component("holdout", val=2 / 12),
        "model": component("mlp", features=(2,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
    }
    for batch_size, data, message in [
        (
            3,
            4,
            r"loader\.batch_size: a batch has 3 examples, so 1 of the 4 .*=4, or more, or --mesh=experiment:1,data:3$",
        ),
        (
            32,
            16,
            r"loader\.batch_size: all training data are 10 examples, so 6 of the 16 .* --mesh=experiment:1,data:10$",
        ),
    ]:
        (job,) = prepare({**study, "loader": component("in_memory", batch_size=batch_size)}).jobs
        with pytest.raises(MlgymError, match=message):
            plan_of(job, request_of("map", f"data:{data}"), jax.devices()[:1] * data, strict=False)


@pytest.mark.parametrize("data, shard", [(4, "fsdp"), (2, "data"), (1, "data")])
def test_a_plan_with_a_mesh_in_a_log_is_asked_for_again(data, shard):
    plan = Plan("vmap", "step", 2, "", 6, data, shard)
    request = logged_plan(str(plan))
    assert (request.batching, request.loop, request.chunk) == ("vmap", "step", 6)
    assert (request.mesh, request.shard) == (((2, data), shard) if data > 1 else (None, None))
    assert request.on(2 * data) == request
    assert request.on(2 * data - 1).mesh is None
    for asked in (request_of("auto", "data:4"), request_of("map+chunk2", "experiment:2"), request_of("tune", None)):
        assert recorded_request(str(asked)) == asked


def test_who_goes_on_or_repeats_takes_as_many_cores_as_batches_were_split_over(tmp_path):
    for sections, asked, number in [
        ({}, "auto", None),
        ({"parallel": {"component": "fsdp"}}, "auto", 3),
        ({}, "map+experiment:1,data:3", 3),
    ]:
        write_resolved(str(tmp_path), sections)
        write_record(str(tmp_path), {"launches": [{}, {"requested_plan": asked, "devices": ["a", "b", "c"]}]})
        assert num_devices_before(str(tmp_path)) == number
    write_record(str(tmp_path), {"launches": []})
    assert num_devices_before(str(tmp_path)) is None


def shapes(**params):
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in params.items()}
    scalar = jax.ShapeDtypeStruct((), np.int32)
    # As Adam's, and what a factored second moment keeps.
    moments = (
        {"count": scalar, "mu": {"layer": params}},
        {"v_row": {"kernel": jax.ShapeDtypeStruct((32,), np.float32)}},
    )
    return TrainState(scalar, {"layer": params}, {}, moments, {}, scalar)


def test_states_are_split_along_their_largest_axis_that_divides():
    state = shapes(kernel=(12, 16), bias=(6,), table=(64, 3))
    specs = state_specs(state, 4, fsdp=True)
    assert jax.tree.map(tuple, specs.params["layer"]) == {
        "kernel": (None, "data"),
        "bias": (),
        "table": ("data",),
    }
    assert specs.opt_state[0]["mu"] == specs.params
    assert specs.opt_state[1]["v_row"]["kernel"] == specs.params["layer"]["table"]
    split = 2 * 4 * (12 * 16 + 64 * 3) // 4 + 4 * 32 // 4
    assert bytes_on_a_device(state, specs, 4) == split + 2 * 4 * 6 + 3 * 4
    assert not any(map(tuple, jax.tree.leaves(state_specs(state, 4, fsdp=False))))


def test_rules_choose_an_axis_by_the_path_of_a_parameter():
    state = shapes(kernel=(12, 16), bias=(8,), table=(64, 3))
    rules = (("kernel$", 0), ("layer/", None))
    check_rules(rules, state.params)
    specs = state_specs(state, 4, fsdp=True, rules=rules)
    assert [tuple(specs.params["layer"][name]) for name in ("kernel", "bias", "table")] == [("data",), (), ()]
    assert specs.opt_state[0]["mu"] == specs.params
    assert tuple(state_specs(state, 4, fsdp=False, rules=(("kernel", -1),)).params["layer"]["kernel"]) == (None, "data")
    boxed = {"layer": {"kernel": meta.Partitioned(state.params["layer"]["kernel"], names=("a", "b"))}}
    check_rules((("layer/kernel$", 1),), boxed)
    for wrong, words in [
        ((("kernl", 0),), r"rules\.0\.0: 'kernl' is found in no parameter's path; did you mean 'kernel'\?"),
        ((("kernel", 0), ("bias", 1)), r"rules\.1\.1: found 1, but 'layer/bias', .* allowed are 0, None"),
    ]:
        with pytest.raises(ConfigError, match=words):
            check_rules(wrong, state.params)
    with pytest.raises(ConfigError, match=r"rules\.0\.1: axis 1 of 'layer/table', .* is not divided by the 4 devices"):
        state_specs(state, 4, fsdp=True, rules=(("table", 1),))


def test_a_step_counts_its_examples_without_asking_the_other_devices():
    def train_step(state, batch):
        number = batch["mask"].sum(dtype=np.float32)
        return state, {"mean": jnp.sum(batch["x"] / number, where=batch["mask"])}

    state, mesh = shapes(kernel=(4,)), mesh_of(jax.local_devices(), MeshSizes(1, 4))
    program = Program(*[lambda: None] * len(Program._fields))._replace(train_step=train_step)
    split = split_over_data(program, state_specs(state, 4, fsdp=False))
    batch = {"x": np.arange(8, dtype=np.float32) ** 2, "mask": np.arange(8) < 5}
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    with jax.set_mesh(mesh):
        compiled = jax.jit(split.train_step).lower(state, batch).compile()
        assert float(compiled(state, batch)[1]["mean"]) == 6.0  # of 0, 1, 4, 9 and 16
    assert compiled.as_text().count(" all-reduce(") == 1  # for the sum of the mean alone


def test_batches_are_split_where_the_config_or_the_command_line_asks_for_it(monkeypatch):
    state = shapes(kernel=(16, 16))
    few, asked = {"num_experiments": 2, "num_devices": 8}, Needs(Parallel("fsdp"), 8, state)
    plan = choose_plan(AUTO, **few)
    assert str(plan) == "map+scanx2"
    assert "--mesh asks for it" in plan.reason
    assert str(choose_plan(AUTO, **few, needs=asked)) == "none+scan+fsdp+experiment:2,data:4"
    assert str(choose_plan(AUTO, num_experiments=3, num_devices=8, needs=asked)) == "none+scan+fsdp+experiment:3,data:2"
    assert str(choose_plan(AUTO, num_experiments=5, num_devices=8, needs=asked)) == "map+scanx5"
    tiny = Needs(Parallel("data"), 3, state)  # a fourth device would never hold an example
    assert str(choose_plan(AUTO, **few, needs=tiny)) == "none+scan+experiment:2,data:3"
    forced = choose_plan(PlanRequest(mesh=MeshSizes(1, 4)), **few)
    assert (str(forced), "--mesh=experiment:1,data:4" in forced.reason) == ("map+scan+experiment:1,data:4", True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_plan(AUTO, **few, needs=Needs(batch_size=4)).data == 4
    for needs in (Needs(batch_size=3), Needs(batch_size=4, going_on=True)):
        assert choose_plan(AUTO, **few, needs=needs).data == 1


def test_auto_splits_states_where_a_device_has_no_room_for_them():
    state = shapes(kernel=(64, 64))
    whole = 2 * 4 * 64 * 64 + 4 * 32 + 3 * 4
    wanted = 2 * whole + 4 * 64 * 64
    for mode, memory, shard, words in [
        ("auto", None, "data", "does not tell its memory"),
        ("auto", wanted, "data", f"{wanted:,} bytes a device fit in"),
        ("auto", wanted - 1, "fsdp", "do not fit"),
        ("fsdp", wanted, "fsdp", "config.parallel"),
    ]:
        needs = Needs(Parallel(mode), 8, state, memory)
        plan = choose_plan(AUTO, num_experiments=1, num_devices=4, needs=needs)
        assert (plan.shard, words in plan.reason) == (shard, True), plan.reason
    for mode, rules, memory, words in [
        ("fsdp", (), whole // 4, r"split over 4 devices, need 8,236 bytes of the 8,227 .* config\.model"),
        ("data", (), whole // 2, r"need 32,908 bytes of the 16,454 .* component\('fsdp'\)"),
        ("fsdp", (("kernel", None),), whole // 2, r"config\.parallel\.rules"),
    ]:
        needs = Needs(Parallel(mode, rules), 8, state, memory)
        with pytest.raises(ConfigError, match=f"config.parallel: the states of 1 experiment a device.*{words}"):
            choose_plan(AUTO, num_experiments=1, num_devices=4, needs=needs)


def test_strict_never_splits_a_batch():
    one = {"num_experiments": 1, "num_devices": 4, "strict": True}
    assert choose_plan(AUTO, **one, needs=Needs(Parallel("auto"))).mesh == (4, 1)
    for request, mode in [(PlanRequest(mesh=MeshSizes(1, 4)), "auto"), (AUTO, "data"), (AUTO, "fsdp")]:
        with pytest.raises(ConfigError, match=r"config\.strict: .* numbers"):
            choose_plan(request, **one, needs=Needs(Parallel(mode)))


def test_what_is_trained_again_on_another_mesh_may_differ_by_rounding():
    found = Recorder.compare.__get__(type("Silent", (), {"mismatches": set(), "event": lambda self, *a, **k: k})())
    logged = {"val/loss": 2.0, "val/accuracy": 0.5}
    near, far = {**logged, "val/loss": 2.0 + 1.5e-5}, {**logged, "val/loss": 2.0 + 2.5e-5}
    assert [len(found(0, 1, logged, again, 1e-5)) for again in (logged, near, far)] == [0, 0, 1]
    assert len(found(0, 2, logged, near)) == 1
