"""Run the epochs of a group: single-experiment functions lifted over rows by vmap, map or nothing, sharded.

A group's rows are laid out in blocks, each one call of the compiled programs: `vmap` and `map` have one block of all
rows, `none` has a row a device in each. `map` runs the active rows only, so that a stopped experiment costs nothing;
once enough have stopped, `lay_out` rebuilds a `vmap` block smaller, fills `none` blocks up again, and deals the active
rows of a `map` to the devices anew.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from mlgym_jax.core.epoch import EpochFunctions
from mlgym_jax.core.epoch_shape import Cut, EpochShape
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import TrainState, with_key
from mlgym_jax.core.streamed import StreamedFunctions
from mlgym_jax.core.trees import select
from mlgym_jax.execution.compiling import Programs
from mlgym_jax.execution.found import Found, read_scores
from mlgym_jax.execution.host_copies import Room
from mlgym_jax.execution.memory import is_out_of_memory, memory_limit
from mlgym_jax.execution.mesh import EXPERIMENT, by_experiment, described, mesh_of, on_all
from mlgym_jax.execution.parts import make_parts
from mlgym_jax.execution.plan import Plan
from mlgym_jax.execution.rows import balanced, in_blocks, least_width, longest
from mlgym_jax.execution.sharding import layout_of, shardings
from mlgym_jax.execution.snapshot import Block, Snapshot

# Of what programs map over, what they overwrite where they may: states, and what was measured while they trained.
_OVERWRITTEN = {"whole": 1, "train": 2, "train_tail": 2, "train_stretch": 2, "train_streamed": 2}


class GroupRunner:
    """The compiled programs of a group and the layout of its rows on the devices.

    Args:
        fold_of_row: int32[rows], each row's number in the fold table.
        names: the scores in the order of the score matrix's columns, such as `val/accuracy`.
        specs: how a state is split over the plan's `data` devices, if there are several; its program keeps to it.
        overwrites: whether an epoch takes the memory of the states before it: a snapshot is good until the next one.
        abstract: the shapes of one row's state; without it, the only key of a state is its own.
    """

    def __init__(
        self,
        program: Program,
        functions: EpochFunctions,
        shape: EpochShape,
        plan: Plan,
        *,
        devices: Sequence[jax.Device],
        data: Any,
        folds: Any,
        fold_of_row: np.ndarray,
        names: Sequence[str],
        specs: TrainState | None = None,
        abstract: TrainState | None = None,
        streamed: StreamedFunctions | None = None,
        overwrites: bool = False,
    ):
        self.plan, self.num_rows, self.names, self.overwrites = plan, len(fold_of_row), tuple(names), overwrites
        self._shape, self._abstract = shape, abstract
        self._mesh = mesh_of(list(devices), plan.mesh)
        self._rows, self._everywhere = by_experiment(self._mesh), on_all(self._mesh)
        self._states: Any = self._rows if specs is None else shardings(specs, self._mesh)
        self._host: Any = data, folds
        self._data, self._folds = jax.tree.map(_form, self._host)  # on the devices only once something is to run there
        self._sizes = {split: np.asarray(mask).sum(axis=1) for split, mask in folds.get("mask", {}).items()}
        self._fold_of_row = np.asarray(fold_of_row, np.int32)
        self.programs = Programs()
        self._parts = make_parts(program, functions, shape, self.names, plan.batching, streamed, overwrites=overwrites)
        self._least = least_width(plan)
        self._blocks: list[Block] = []
        self._before: list[Block] = []  # from which an epoch that failed can be trained again, if it has left them
        self._again: Callable[[], float] | None = None  # begins anew what has not come through an epoch yet
        self._base: TrainState | None = None
        self._room_on_host = Room()

    def close(self) -> None:
        """Let go of what is not memory."""

    @property
    def mesh(self) -> str:
        return described(self.plan)

    @property
    def bytes_per_device(self) -> int:
        """What a call of the programs needs on a device, of the one that needs most."""
        return self.programs.bytes_needed

    def _folds_of(self, padded: np.ndarray) -> jax.Array:
        return jax.device_put(self._fold_of_row[padded], self._rows)

    def compile(self, seeds: np.ndarray, hyperparams: dict[str, np.ndarray], batch: Any) -> float:
        """Compile everything that `start_fresh` needs, without any memory of a device; return the seconds it took."""
        started = time.perf_counter()
        while True:
            padded = in_blocks(range(self.num_rows), self.plan)[0][1]
            rows = {path: values[padded] for path, values in hyperparams.items()}
            with self.programs.collected():
                self._lower(self._call("init", (seeds[padded], rows, np.ones(len(padded), bool)), batch, dry=True))
            if not self._cut(len(padded)):
                return time.perf_counter() - started

    def start_fresh(self, seeds: np.ndarray, hyperparams: dict[str, np.ndarray], batch: Any) -> float:
        """Compile everything that is not yet, initialise all rows and lay them out; return the seconds that it took.

        Args:
            seeds: uint32[rows]; hyperparams: dotted path -> [rows]; batch: one batch of examples, for the shapes.
        """
        seconds = self.compile(seeds, hyperparams, batch)
        try:
            self._initialise(seeds, hyperparams, batch)
            self._again = lambda: self.start_fresh(seeds, hyperparams, batch)
            return seconds
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or not self.can_be_fewer:
                raise
        self.take_half()
        return seconds + self.start_fresh(seeds, hyperparams, batch)

    def _initialise(self, seeds: np.ndarray, hyperparams: dict[str, np.ndarray], batch: Any) -> None:
        self._hold()
        self._blocks = []
        for ids, padded in in_blocks(range(self.num_rows), self.plan):
            rows = {path: values[padded] for path, values in hyperparams.items()}
            block = self._call("init", (seeds[padded], rows, np.ones(len(padded), bool)), batch, dry=False)
            # Waited for: memory that ran out is told by what asks for the result, and calls side by side need it all.
            self._blocks.append((ids, self._folds_of(padded), jax.block_until_ready(block)))

    def _hold(self) -> None:
        """Put on the devices what all rows share."""
        if self._host is not None:
            (self._data, self._folds), self._host = jax.device_put(self._host, self._everywhere), None

    def start(self, state: TrainState, rows: Sequence[int] | None = None) -> float:
        """Lay out `rows` (all by default) of a stacked host state for training; the others stay as they are.

        Returns:
            The seconds that compiling took.
        """
        self._hold()
        self._again = lambda: self.start(state, rows)
        self._base = state
        self._blocks = []
        for ids, padded in in_blocks(range(self.num_rows) if rows is None else rows, self.plan):
            block = jax.tree.map(lambda leaf, padded=padded: leaf[padded], state)
            block = jax.device_put(with_key(block, self._abstract), self._states)
            self._blocks.append((ids, self._folds_of(padded), block))
        started = time.perf_counter()
        with self.programs.collected():
            self._lower(self._blocks[0][2])
        seconds = time.perf_counter() - started
        return seconds + self.start(state, rows) if self._cut(len(self._blocks[0][2].step)) else seconds

    def _cut(self, width: int) -> bool:
        """Cut the group into chunks if its programs need more memory than a device has; tell whether it did."""
        limit, needed = memory_limit(self._mesh.devices.flat[0]), self.bytes_per_device
        if not limit or needed <= limit or width <= self._least:
            return False
        chunk = max(self._least, min(width - 1, int(width * limit / needed)))
        return self._in_chunks(chunk, f"{width} at once need {needed:,} bytes of the {limit:,} that a device has")

    def _in_chunks(self, chunk: int, why: str) -> bool:
        reason = f"{self.plan.reason}; at most {chunk} experiment{'s' * (chunk > 1)} at once: {why}"
        self.plan = dataclasses.replace(self.plan, chunk=chunk, reason=reason)
        self.programs.forget()
        return True

    def halve(self) -> float | None:
        """Return to before the last epoch with half as many experiments a call, as memory ran out.

        Returns:
            The seconds that compiling took; None if it cannot be fewer, or if that epoch has overwritten its states and
            was not the first one: then there is `take_half`.
        """
        before, again = Snapshot(self._base, self._before, self.num_rows, is_lent=True), self._again
        if self._before and not before.is_gone:
            states, rows = before.states(), [row for ids, _, _ in self._before for row in ids]
            again = lambda: self.start(states, rows)  # noqa: E731
        if again is None or not self.can_be_fewer:
            return None
        self.take_half()
        return again()

    @property
    def _width(self) -> int:
        """How many experiments a call has."""
        widths = [len(block.step) for _, _, block in self._blocks]
        return max(widths, default=len(in_blocks(range(self.num_rows), self.plan)[0][1]))

    @property
    def can_be_fewer(self) -> bool:
        return self._width > self._least

    def take_half(self) -> None:
        """Let go of all states, and have half as many experiments a call from the next `start` on."""
        width, self._blocks, self._before = self._width, [], []  # their memory is needed
        self._in_chunks(max(self._least, width // 2), f"memory ran out with {width}")

    def snapshot(self) -> Snapshot:
        """Return the present states of all rows; it stays what it is when training goes on, unless that overwrites."""
        return Snapshot(self._base, list(self._blocks), self.num_rows, self.overwrites, self._room_on_host)

    def worth_laying_out(self, active: np.ndarray) -> list[int] | None:
        """Return the rows to `lay_out` anew where that saves compute, None where it does not."""
        laid_out = [row for ids, _, _ in self._blocks for row in ids]
        remaining = [row for row in laid_out if active[row]]
        devices = self.plan.num_devices
        if self.plan.batching == "none":
            saves = -(-len(remaining) // devices) < len(self._blocks)
        elif self.plan.batching == "vmap":
            saves = 2 * len(remaining) <= len(laid_out) and len(laid_out) > devices
        else:  # the active rows stand dense on some devices; all rows stay, so that nothing is compiled again
            order = balanced(remaining, [row for row in laid_out if not active[row]], self.plan)
            anew, as_now = [ids for ids, _ in in_blocks(order, self.plan)], [ids for ids, *_ in self._blocks]
            saves = longest(active, anew, self.plan) < 0.8 * longest(active, as_now, self.plan)
            remaining = order
        return remaining if saves and remaining else None

    def lay_out(self, rows: Sequence[int]) -> None:
        """Go on with `rows` alone, from where they stand."""
        self.start(self.snapshot().states(), rows)

    def epoch(self, active: np.ndarray, epoch: int) -> Found:
        """Train and evaluate one epoch of the active rows; dispatched, and waited for only in chunks.

        Returns:
            What `read_scores` waits for.
        """
        found, blocks, self._before = [], list(self._blocks), self._blocks
        for number, (ids, folds, block) in enumerate(self._blocks):
            live = np.zeros(block.step.shape, bool)
            live[: len(ids)] = active[ids]
            if not live.any():
                continue
            state, old = self._begun((ids, folds, block), live)
            state, scores = self._run(state, folds, live, np.int32(epoch))
            blocks[number] = (ids, folds, self._rested(state, old, live))
            found.append((ids, jax.block_until_ready(scores) if self.plan.chunk else scores))  # never side by side
        self._blocks = blocks  # all of them or, where memory runs out between two, none
        return found

    def _begun(self, block: Block, live: np.ndarray) -> tuple[TrainState, TrainState | None]:
        """Return the states that an epoch begins with, and, where it would leave rows that rest overwritten, theirs."""
        ids, _, state = block
        if not self.overwrites or self.plan.batching == "map" or live[: len(ids)].all():
            return state, None
        return jax.tree.map(jnp.copy, state), state

    def _rested(self, state: TrainState, old: TrainState | None, live: np.ndarray) -> TrainState:
        return state if old is None else jax.device_put(_chosen(live, state, old), self._states)

    def stretches(self, active: np.ndarray, epoch: int, middle: Any = None) -> Generator[Any, None, Found]:
        """Train and evaluate one epoch, with something to say on the way where a plan has it; as `epoch` else."""
        return self.epoch(active, epoch)
        yield

    def read_scores(self, found: Found) -> np.ndarray:
        """Wait for an epoch and return float[rows, scores]; NaN for rows that did not run."""
        scores = read_scores(found, self.num_rows, len(self.names))
        self._again = None  # it has come through
        return scores

    def _lower(self, block: Any) -> None:
        """Trace every program for blocks of this shape."""
        folds = jax.ShapeDtypeStruct(block.step.shape, np.int32)
        self._run(block, folds, np.zeros(block.step.shape, bool), np.int32(0), dry=True)

    def _run(self, block: Any, folds: Any, live: np.ndarray, epoch: np.int32, dry: bool = False) -> Any:
        if self.plan.loop == "scan":
            return self._call("whole", (block, folds, live), (self._data, self._folds, epoch), dry)
        shape, call = self._shape, self._call
        tables = (self._data, self._folds)
        order = call("order", (block, folds, live), (*tables, epoch), dry)
        measured = "train" not in shape.eval_batches
        running = call(("room", None), (block, folds, live), tables, dry) if measured else None
        state = block
        for i in range(min(1, shape.train.number) if dry else shape.train.number):
            state, running = call("train", (state, running, folds, order, live), (*tables, np.int32(i)), dry)
        for size, own in self._tails("train", shape.train, folds, live, dry):
            state, running = call(("train_tail", size), (state, running, folds, order, own), tables, dry)
        by_split = {"train": running} if measured else {}
        for split, cut in shape.eval_batches.items():
            found = call(("room", split), (state, folds, live), tables, dry)
            for i in range(min(1, cut.number) if dry else cut.number):
                arguments = (state, found, folds, live)
                found = call(("evaluate", split), arguments, (*tables, epoch, np.int32(i)), dry)
            for size, own in self._tails(split, cut, folds, live, dry):
                found = call(("evaluate_tail", split, size), (state, found, folds, own), (*tables, epoch), dry)
            by_split[split] = found
        if self.overwrites:
            return state, call("scores", (by_split, live), (epoch,), dry)
        return call("finish", (state, block, by_split, live), (epoch,), dry)

    def _tails(self, split: str, cut: Cut, folds: Any, live: np.ndarray, dry: bool) -> list[tuple[int, np.ndarray]]:
        """Return the sizes of last, smaller batches that some of the rows have, and which rows."""
        if dry or len(cut.tails) <= 1:
            return [(size, live) for size in cut.tails if size]
        rests = self._sizes[split][np.asarray(folds)] % cut.size
        found = [(size, live & (rests == size)) for size in cut.tails if size]
        return [(size, own) for size, own in found if own.any()]

    def _donated(self, name: Any) -> int:
        """Return how many of what a program maps over, from the first on, it may overwrite: none that others hold."""
        kind = name if isinstance(name, str) else name[0]
        return _OVERWRITTEN.get(kind, 0) if self.overwrites else 0

    def _call(self, name: Any, mapped: tuple[Any, ...], shared: tuple[Any, ...], dry: bool) -> Any:
        key, donated = (name, mapped[-1].shape), self._donated(name)
        if not dry:
            return self.programs.compiled[key](mapped[:donated], mapped[donated:], shared)
        if key not in self.programs.results:
            rows, everywhere = PartitionSpec(EXPERIMENT), PartitionSpec()
            function = self._parts[name]
            if self.plan.mesh.num_devices > 1:
                own: Any = {"axis_names": {EXPERIMENT}} if self.plan.data > 1 else {}  # `data` is the compiler's
                function = jax.shard_map(
                    function, mesh=self._mesh, in_specs=(rows, everywhere), out_specs=rows, check_vma=False, **own
                )
            given, returned = self._rows, self._rows
            if self.plan.data > 1:
                given, returned = layout_of(name, mapped, self._states, self._rows)
            parts = (given[:donated], given[donated:]) if isinstance(given, tuple) else (given, given)
            jitted = jax.jit(
                lambda first, rest, shared: function((*first, *rest), shared),
                in_shardings=(*parts, self._everywhere),
                out_shardings=returned,
                donate_argnums=0,
            )
            self.programs.add(key, jitted.lower(mapped[:donated], mapped[donated:], shared))
        return self.programs.results[key]


_chosen = jax.jit(select, donate_argnums=1)


def _form(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the form that an array has on a device."""
    form = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(form.shape, form.dtype)
