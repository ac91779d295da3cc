"""A trained model, or several whose outputs are averaged, as a folder that predicts with jax and numpy alone.

    program.bin            what `jax.export` makes: weights and raw inputs, of any number of examples, to outputs;
                           encoding and post-processors are a part of it
    weights.safetensors    all arrays that the program needs, by their names
    model.json             inputs, outputs, names of classes and features, where it is from, how long it can be loaded
    model_card_ID.json, model_card_ID.md    of each experiment, where its run has one
    predict.py             python predict.py inputs.npy outputs.npy
    words.py               what it makes of columns, words, dates and texts
    tokenizer.json         of a run that was trained on texts, what made tokens of them
    flatbuffers/           by which jax reads program.bin, for where it is not installed (Apache License 2.0)

The program is of StableHLO, which JAX's versions of about six months read; `expires` in model.json says more.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.export
import numpy as np

from mlgym_jax.checkpoint.safetensors_files import flat, write_arrays
from mlgym_jax.components.tree import unresolved
from mlgym_jax.core.dead_code import needed
from mlgym_jax.core.inputs import INPUTS, nested
from mlgym_jax.core.outputs import described_tree
from mlgym_jax.core.state import TrainState, raw_key, with_key
from mlgym_jax.data.dataset import rest_of
from mlgym_jax.errors import MlgymError, in_words
from mlgym_jax.events import layout
from mlgym_jax.events.views import RunView
from mlgym_jax.reading import standalone_words
from mlgym_jax.reading.exported_texts import Texts, knowing, shapes, texts_of
from mlgym_jax.reading.prediction import Predictor, may_miss, raw_fields
from mlgym_jax.reading.standalone import SOURCE
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.study.job import Job

# The most platforms first: a model may use what one of them lacks.
_PLATFORMS = (("cpu", "cuda", "tpu"), ("cpu", "cuda"), ("cpu", "tpu"), ("cpu",))
_MONTHS = 6
# Numbers of examples that a program is tried with.
_TRIED = (2, 3)

Mean = Callable[[Sequence[Any]], Any]


def write_exported(
    folder: str,
    run_dir: str,
    view: RunView,
    members: Sequence[Predictor],
    mean: Mean | None = None,
    *,
    today: datetime.date | None = None,
    says: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder of one model, or of several that take the same inputs; whole or not at all.

    Args:
        run_dir, view: the run, and what its log says.
        mean: what makes one output of several models'; not needed for one.
        says: more for model.json.

    Raises:
        MlgymError: the folder is there and not empty, cannot be written, or a model cannot be exported.
    """
    reader = _reader()
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise MlgymError(f"{folder}: it is there already; name a new folder")
    texts = texts_of(members)
    weights, exported = _program(members, mean, texts)
    today = today or datetime.datetime.now(datetime.UTC).date()
    description = {**_description(view, members, exported, today), "texts": [one.says for one in texts], **(says or {})}
    tokenizer = members[0].job.components["dataset"].tokenizer
    temporary = f"{folder}.{os.getpid()}.tmp"
    try:
        os.makedirs(temporary)
        with open(os.path.join(temporary, "program.bin"), "wb") as file:
            file.write(exported.serialize())
        write_arrays(weights, os.path.join(temporary, "weights.safetensors"), {"run_id": str(view.run_id)})
        run_folder.write_json(os.path.join(temporary, "model.json"), description)
        run_folder.write_text(os.path.join(temporary, "predict.py"), SOURCE)
        shutil.copyfile(standalone_words.__file__, os.path.join(temporary, "words.py"))
        if tokenizer is not None:
            run_folder.write_text(os.path.join(temporary, "tokenizer.json"), tokenizer.to_json())
        carried = os.path.join(temporary, "flatbuffers")
        shutil.copytree(reader, carried, ignore=shutil.ignore_patterns("__pycache__"))
        if terms := importlib.metadata.distribution("jax").read_text("licenses/LICENSE"):  # its own is the same
            run_folder.write_text(os.path.join(carried, "LICENSE"), terms)
        for number in {member.experiment_id for member in members}:
            for name in (layout.MODEL_CARD, layout.MODEL_CARD_TEXT):
                stem, ending = os.path.splitext(name)
                with contextlib.suppress(FileNotFoundError):
                    card = os.path.join(run_dir, str(number), name)
                    shutil.copyfile(card, os.path.join(temporary, f"{stem}_{number}{ending}"))
        os.replace(temporary, folder)
    except OSError as error:
        raise MlgymError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _reader() -> str:
    """Return the folder of the package by which jax writes and reads programs.

    Raises:
        MlgymError: it is not installed.
    """
    found = importlib.util.find_spec("flatbuffers")
    if found is None or found.origin is None:
        raise MlgymError('a program is written by flatbuffers; type: pip install "mlgym-jax[export]"')
    return os.path.dirname(found.origin)


def _fields(job: Job, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the inputs of the program, with so many examples."""
    found: dict[str, jax.ShapeDtypeStruct] = {}
    for field, array in raw_fields(job).items():
        exact = rest_of(field) in job.table.arrays
        shape = (batch, *array.shape[1:])
        found[field] = jax.ShapeDtypeStruct(shape, np.float32 if exact else array.dtype)
        if exact:
            found[rest_of(field)] = jax.ShapeDtypeStruct(shape, np.float32)
    return found


def _program(
    members: Sequence[Predictor], mean: Mean | None, texts: Sequence[Texts]
) -> tuple[dict[str, Any], jax.export.Exported]:
    """Return the arrays that predict, by their names, and the program that takes them.

    Raises:
        MlgymError: a model whose code depends on the number of examples, or of something that cannot be exported.
    """
    for member in members:
        if jax.tree.structure(member.state) != jax.tree.structure(member.job.abstract):
            raise MlgymError(
                f"what the run's config makes here is not what experiment {member.experiment_id} trained: it has other "
                f"arrays. Give {layout.CONFIG} and {layout.CONFIG_SOURCE}, and the components that they name, as they "
                "were"
            )
    states = [raw_key(member.state) for member in members]
    several = len(states) > 1
    leaves, form = jax.tree.flatten(states)
    names = [
        f"{number}/{name}" if several else name for number, state in enumerate(states) for name in flat(state)
    ]  # flat keeps the order of the leaves

    def outputs(leaves: Sequence[Any], fields: Mapping[str, Any]) -> Any:
        given = jax.tree.unflatten(form, leaves)
        found, of_texts = [], {one.field for one in texts}
        batch = {name: field for name, field in fields.items() if name not in of_texts}
        for number, (member, raw) in enumerate(zip(members, given, strict=True)):
            state: TrainState = with_key(raw, member.job.abstract)
            own = knowing(member, [one for one in texts if one.member == number], fields)
            found.append(own.outputs_of(state, nested(dict(batch))))
        return flat_outputs(found[0] if mean is None else mean(found))

    scope = jax.export.SymbolicScope()
    (batch,) = jax.export.symbolic_shape("batch", scope=scope)
    fields = _fields(members[0].job, batch)
    of_texts = shapes(texts, scope)
    try:
        both = {**fields, **of_texts}
        one = {name: jax.ShapeDtypeStruct((2, *field.shape[1:]), field.dtype) for name, field in both.items()}
        used = needed(jax.make_jaxpr(outputs)(leaves, one))[1][: len(leaves)]
        weights = {name: np.asarray(leaf) for name, leaf, kept in zip(names, leaves, used, strict=True) if kept}

        def program(weights: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
            # What nothing reads is not stored, and no part of the program.
            pairs = zip(names, leaves, strict=True)
            return outputs([weights.get(name, np.zeros_like(leaf)) for name, leaf in pairs], fields)

        of_weights = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in weights.items()}
        exported = _exported(jax.jit(program), of_weights, both)
    except MlgymError as error:
        hint = "; write x.shape[0] in place of len(x)" if "_DimExpr" in str(error) else ""
        raise MlgymError(f"the model cannot be exported for any number of examples: {error}{hint}") from error
    arrays = members[0].job.table.arrays
    for number in _TRIED:  # code that asks whether the number is odd, say, is answered, and wrong for some
        rows = {name: np.asarray(arrays[name][np.arange(number) % len(arrays[name])]) for name in fields}
        rows |= {one.field: one.known for one in texts}
        pairs = zip(
            jax.tree.leaves(jax.jit(exported.call)(weights, rows)),
            jax.tree.leaves(jax.jit(outputs)(leaves, rows)),
            strict=True,
        )
        if not all(np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True) for one, other in pairs):
            raise MlgymError(
                f"the model cannot be exported for any number of examples: of {number} the program makes other outputs "
                "than `predict`; does the model's code look at the number of examples?"
            )
    return weights, exported


def _exported(program: Any, weights: Any, fields: Any) -> jax.export.Exported:
    for platforms in _PLATFORMS:
        try:
            return jax.export.export(program, platforms=platforms)(weights, fields)
        except MlgymError:
            raise
        except Exception as error:
            if platforms == _PLATFORMS[-1]:
                raise MlgymError(in_words(error).splitlines()[0]) from error
    raise AssertionError("the last platforms return or raise")


def flat_outputs(outputs: Any) -> Any:
    """Return one array as it is, several by their paths, such as `1.logits`."""
    found = jax.tree_util.tree_flatten_with_path(outputs)[0]
    if len(found) == 1 and not found[0][0]:
        return outputs
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def _description(
    view: RunView, members: Sequence[Predictor], exported: jax.export.Exported, today: datetime.date
) -> dict[str, Any]:
    job = members[0].job
    dataset, config = job.components["dataset"], job.group.config
    names = (dataset.feature_names or ()) if [*raw_fields(job)] == [INPUTS] else ()
    shapes = {name: field for name, field in _fields(job, 1).items() if name in raw_fields(job)}
    rests = {name: rest_of(name) for name in shapes if rest_of(name) in job.table.arrays}
    months = today.year * 12 + today.month - 1 + _MONTHS
    end = datetime.date(months // 12, months % 12 + 1, min(today.day, 28))
    return {
        "format": 1,
        "run_id": view.run_id,
        "name": view.name,
        "members": [
            {
                "experiment_id": member.experiment_id,
                "epoch": member.epoch,
                "hyperparameters": view.experiments[member.experiment_id].hyperparameters,
                "model": (view.experiments[member.experiment_id].config or {}).get("model"),
            }
            for member in members
        ],
        "inputs": {
            name: {"shape": ["n", *field.shape[1:]], "dtype": field.dtype.name, "rest": rests.get(name)}
            for name, field in shapes.items()
        },
        "outputs": described_tree(jax.tree.unflatten(exported.out_tree, exported.out_avals)),
        "encoding": unresolved(config.get("encoding")),
        "post_processors": unresolved(config.get("post_processors")),
        "class_names": dataset.class_names,
        "feature_names": dataset.feature_names,
        "categories": dataset.categories,
        "may_be_missing": [name for place, name in enumerate(names) if may_miss(job, place)],
        "jax_version": jax.__version__,
        "platforms": list(exported.platforms),
        "exported": today.isoformat(),
        "expires": {
            "at_the_latest": end.isoformat(),
            "words": f"JAX promises that versions of up to {_MONTHS} months after {jax.__version__}, which wrote "
            "program.bin, load it. With a later one, export it anew from the run, or keep that version of jax.",
        },
    }
