"""Groups that need more memory than there is: known beforehand, or when it runs out."""

import re

import jax
import numpy as np
import pytest
from study_files import finish, small, start

import mlgym_jax as mg
from mlgym_jax.execution.batched import GroupRunner

pytestmark = pytest.mark.usefixtures("own_registry")

TWELVE = (
    "config.seed = grid(0, 1, 2); config.optimizer = component('adam', learning_rate=grid(1e-3, 1e-2, 3e-2, 1e-1));"
)
PLAIN = TWELVE + "config.model = component('mlp', features=(6,));"

# Programs that ask for half a GiB an experiment and touch nothing of it: their loop runs only on what is no number.
# The policy `short` leaves the process room for five experiments, from after some epochs on.
ROOMY = """
import pathlib
import resource
import time

import optax

from mlgym_jax.models.mlp import MLP

ROOM = 2**29


def room_for(x):
    def body(_, found):
        return found + jnp.sort(jnp.full((ROOM // 4,), found))[7]

    return jax.lax.fori_loop(0, jnp.any(jnp.isnan(jax.lax.stop_gradient(x))).astype(int), body, jnp.zeros(()))


@register("loss", "roomy_cross_entropy")
def roomy_cross_entropy():
    def loss(outputs, batch):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"]) + room_for(outputs)

    return loss


@register("model", "roomy_to_initialise")
class RoomyToInitialise(MLP):
    features: tuple[int, ...] = (6,)
    num_outputs: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        self.param("room", lambda key: room_for(jax.random.normal(key)))
        return super().__call__(x, train)


def taken():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@register("early_stopping", "short")
def short(*, after: int):
    most = taken() + 11 * ROOM // 2

    def look(history):
        if len(history) == after:
            while taken() > most - 4 * ROOM:  # what an epoch took is given back just after its scores
                time.sleep(0.001)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return False

    look([])
    return look
"""


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """Twelve experiments whose program is of one batch, and how they end where there is memory."""
    folder = tmp_path_factory.mktemp("twelve")
    path = small(folder, PLAIN)
    return path, mg.run(mg.load_config(path), folder / "whole", plan="vmap", devices=1)


def run_short(folder, edit):
    """Run a study in a process that runs out of memory."""
    words = f"--config={small(folder, edit, ROOMY)}", f"--event_storage={folder}", "--run_id=it"
    # The device is believed to have enough; threads take few addresses beside what programs ask for.
    env = {"MLGYM_JAX_DEVICE_MEMORY": str(2**40), "MALLOC_ARENA_MAX": "1"}
    status, _, err = finish(start("run", *words, "--plan=vmap", "--devices=1", env=env))
    assert status == 0, err
    return mg.load_run(folder / "it")


def assert_same_numbers(one, other):
    for mine, its in zip(one.experiments, other.experiments, strict=True):
        assert mine.history.keys() == its.history.keys()
        for name, values in mine.history.items():
            np.testing.assert_allclose(values, its.history[name], rtol=0, atol=1e-6)


def test_a_group_too_large_for_the_memory_is_cut_into_chunks(twelve, tmp_path, monkeypatch):
    path, whole = twelve
    assert [group["plan"] for group in whole.view.groups] == ["vmap+scanx1"]
    monkeypatch.setenv("MLGYM_JAX_DEVICE_MEMORY", "60000")
    cut = mg.run(mg.load_config(path), tmp_path, plan="vmap", devices=1)
    [group] = cut.view.groups
    chunk = int(re.fullmatch(r"vmap\+scan\+chunk(\d+)x1", group["plan"])[1])
    assert 1 <= chunk < 12
    assert re.search(rf"at most {chunk} experiments at once: .* need [\d,]+ bytes of the 60,000", group["reason"])
    assert_same_numbers(cut, whole)
    monkeypatch.setenv("MLGYM_JAX_DEVICE_MEMORY", "much")
    with pytest.raises(mg.errors.MlgymError, match="MLGYM_JAX_DEVICE_MEMORY=much: a number of bytes is expected"):
        mg.run(mg.load_config(path), tmp_path)


def test_memory_that_runs_out_halves_the_chunk_and_goes_on(twelve, tmp_path, monkeypatch):
    _, whole = twelve
    edit = "config.loss = component('roomy_cross_entropy'); config.early_stopping = component('short', after=1)"
    result = run_short(tmp_path, PLAIN + edit)
    # Twelve in the first epoch; in the second, twelve and then six are refused, and fewer if the system took addresses.
    assert result.status == "DONE"
    first, *_, halved = [group["plan"] for group in result.view.groups]  # between them what was refused later, if any
    assert first == "vmap+scanx1" and re.fullmatch(r"vmap\+scan\+chunk[1-3]x1", halved)
    assert "at most 6 experiments at once: memory ran out with 12" in result.view.groups[-1]["reason"]
    assert "at most 3 experiments at once: memory ran out with 6" in result.view.groups[-1]["reason"]
    assert_same_numbers(result, whole)
    monkeypatch.setenv("MLGYM_JAX_DEVICE_MEMORY", str(2**40))
    resumed = mg.resume(result.run_dir, num_epochs=4, devices=1)
    assert resumed.view.groups[-1]["plan"] == halved and not resumed.mismatches


def test_memory_that_runs_out_while_initialising_halves_the_chunk(twelve, tmp_path):
    _, whole = twelve
    edit = "config.model = component('roomy_to_initialise'); config.early_stopping = component('short', after=0)"
    result = run_short(tmp_path, TWELVE + edit)
    assert result.status == "DONE"
    [plan] = [group["plan"] for group in result.view.groups]
    assert re.fullmatch(r"vmap\+scan\+chunk[1-3]x1", plan)
    assert "at most 6 experiments at once: memory ran out with 12" in result.view.groups[-1]["reason"]
    assert "at most 3 experiments at once: memory ran out with 6" in result.view.groups[-1]["reason"]
    assert_same_numbers(result, whole)


def test_memory_that_not_even_one_fits_in_is_told_with_what_takes_it_and_what_takes_less(tmp_path, monkeypatch):
    """As on a device that is full: what runs out is only said, as programs here are small."""

    def refused(self, found):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 204 bytes")

    monkeypatch.setattr(GroupRunner, "read_scores", refused)
    monkeypatch.setenv("MLGYM_JAX_DEVICE_MEMORY", str(2**40))
    result = mg.run(mg.load_config(small(tmp_path, PLAIN)), tmp_path, plan="vmap", devices=1)
    assert result.status == "FAILED" and len({one.error for one in result.experiments}) == 1
    error = result.experiments[0].error
    # Adam keeps two numbers beside each of these; counters, the key and the learning rate are some more.
    parameters = 8 * 6 + 6 + 6 * 3 + 3
    size = int(re.search(r"states of 12 experiments take ([\d,]+) bytes", error)[1].replace(",", "")) // 12
    assert 3 * 4 * parameters < size < 3 * 4 * parameters + 64
    assert re.search(r"a call of its programs needs [\d,]+ bytes on a device", error)
    assert f"a device has {2**40:,}" in error and "fewer experiments in a run, config.loader.microbatches = 2" in error
    assert "(JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 204 bytes" in error
