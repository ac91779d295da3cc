"""The text of the `predict.py` that an exported folder holds: it reads the files beside it, by jax and numpy alone."""

SOURCE = '''\
"""Predict with the model of this folder, by jax and numpy alone: python predict.py inputs.npy outputs.npy.

Several inputs come as an .npz file of them, by the names that model.json has; several outputs are written as one.
A table may come as a .csv file with a line of names: words, dates and texts as they are.
"""

import csv
import importlib.util
import json
import pathlib
import sys

import jax
import jax.export
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE))  # where flatbuffers is that jax reads programs by, if it is not installed
SPEC = importlib.util.spec_from_file_location("words", HERE / "words.py")
WORDS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(WORDS)
TOKENIZER = WORDS.Tokenizer(HERE / "tokenizer.json") if (HERE / "tokenizer.json").exists() else None
MODEL = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
PROGRAM = jax.export.deserialize(bytearray((HERE / "program.bin").read_bytes()))
CALL = jax.jit(PROGRAM.call)
(ARRAYS, FIELDS), _ = jax.tree.unflatten(PROGRAM.in_tree, PROGRAM.in_avals)
DATA = (HERE / "weights.safetensors").read_bytes()
START = 8 + int.from_bytes(DATA[:8], "little")
PLACES = {name: entry.get("data_offsets") for name, entry in json.loads(DATA[8:START]).items()}
WEIGHTS = {
    name: np.frombuffer(DATA[START + PLACES[name][0] : START + PLACES[name][1]], array.dtype).reshape(array.shape)
    for name, array in ARRAYS.items()
}


def read(path):
    """Return the arrays of a .npy or .npz file, or the rows of a .csv file by their columns."""
    if not path.endswith(".csv"):
        return np.load(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def by_path(inputs):
    """Return several inputs, dicts and tuples that may be nested, by the names that model.json has, `inputs.image`."""
    found = {}

    def walk(path, part):
        if isinstance(part, tuple) or hasattr(part, "items"):
            for name, inner in enumerate(part) if isinstance(part, tuple) else part.items():
                walk(f"{path}.{name}" if path else str(name), inner)
        else:
            found[path] = part

    walk("", inputs)
    return {name if name in MODEL["inputs"] else f"inputs.{name}": part for name, part in found.items()}


def predict(inputs, batch_size=1024):
    """Return the outputs for one array of inputs, or for several by their names: an array, or arrays by their names.

    A table may also be columns by their names, or rows of strings. Of a model of tokens, `TOKENIZER.encode` makes them.
    """
    inputs, texts = WORDS.numbers(inputs, MODEL)
    several = by_path(inputs) if list(MODEL["inputs"]) != ["inputs"] else {"inputs": inputs}
    if missing := [name for name in MODEL["inputs"] if name not in several]:
        raise SystemExit(f"inputs: expected {list(MODEL['inputs'])}, found {list(several)} without {missing[0]!r}")
    given = {name: np.asarray(several[name]) for name in MODEL["inputs"]}
    fields = {name: array.astype(FIELDS[name].dtype, casting="same_kind") for name, array in given.items()}
    for name, entry in MODEL["inputs"].items():
        if entry["rest"]:  # what float32 leaves of numbers far from 0
            fields[entry["rest"]] = (given[name].astype(np.float64) - fields[name]).astype(np.float32)
        if given[name].shape[1:] != tuple(entry["shape"][1:]) or not len(given[name]):
            raise SystemExit(f"{name}: expected {entry['shape']}, n of at least 1, found {list(given[name].shape)}")
    parts = [
        CALL(WEIGHTS, {name: array[at : at + batch_size] for name, array in fields.items()} | texts)
        for at in range(0, len(next(iter(fields.values()))), batch_size)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate([np.atleast_1d(leaf) for leaf in leaves]), *parts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("type: python predict.py inputs.npy outputs.npy")
    outputs = predict(read(sys.argv[1]))
    with open(sys.argv[2], "wb") as file:
        np.savez(file, **outputs) if isinstance(outputs, dict) else np.save(file, outputs)
'''
