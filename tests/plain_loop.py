"""One experiment after the other by a plain loop, without plans, padding or batches of experiments."""

import functools

import jax
import numpy as np

from mlgym_jax.core.state import ORDER, key_for, raw_key


def first_states(job, rows):
    """Return the state that some experiments of a job begin with, made one by one: [rows, ...], for `runner.start`."""
    states = [jax.device_get(raw_key(_first_state(job, row))) for row in rows]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def _first_state(job, row):
    hyperparams = {path: values[row] for path, values in job.hyperparams.items()}
    return _compiled(job.program)[0](jax.random.key(job.seeds[row]), job.sample, hyperparams)


@functools.cache
def _compiled(program):
    def evaluate(state, batch):
        return program.compute(program.eval_step(state, batch))

    return jax.jit(program.init), jax.jit(program.train_step), jax.jit(evaluate)


def train_by_hand(job, row, epochs, evaluated_after=None):
    """Train one experiment of a job over true-size batches, in an order sorted by NumPy.

    Args:
        evaluated_after: the steps after which it is evaluated, not each epoch; with the last it ends.

    Returns:
        float[evaluations, scores] in the order of the job's names, and the last state.
    """
    key = jax.random.key(job.seeds[row])
    program, fold = job.program, job.fold_of_row[row]
    members = {s: job.folds.indices[s][fold][job.folds.mask[s][fold]] for s in job.folds.indices}

    def batch_of(indices):
        return {field: array[indices] for field, array in job.table.arrays.items()}

    state = _first_state(job, row)
    _, step, evaluate = _compiled(program)
    scores, done = [], 0

    def evaluated():
        found = {s: evaluate(state, batch_of(members[s])) for s in members}
        scores.append([float(found[name.split("/")[0]][name.split("/")[1]]) for name in job.names])

    for epoch in range(1, epochs + 1):
        bits = np.asarray(jax.random.bits(key_for(key, ORDER, epoch), job.folds.mask["train"][fold].shape))
        order = members["train"][np.argsort(bits[: len(members["train"])], kind="stable")]
        for start in range(0, len(order), job.shape.batch_size):
            state, _ = step(state, batch_of(order[start : start + job.shape.batch_size]))
            done += 1
            if done in (evaluated_after or ()):
                evaluated()
            if evaluated_after and done == max(evaluated_after):
                return np.array(scores), state
        if evaluated_after is None:
            evaluated()
    return np.array(scores), state
