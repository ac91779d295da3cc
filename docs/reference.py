"""Write docs/reference/: fields, command lines, Python, HTTP, environment variables, each from the code that has them.

python docs/reference.py [--check]
"""

import argparse
import importlib
import inspect
import pathlib
import sys
import types
from unittest import mock

import mlgym_jax
from board_server.openapi import document
from mlgym_jax.__main__ import _COMMANDS as COMMANDS
from mlgym_jax.command_line import Parser
from mlgym_jax.config.words import DEFAULT_SECTIONS, FIELDS, OF_COMPONENTS, SECTIONS
from mlgym_jax.errors import MlgymError

FOLDER = pathlib.Path(__file__).with_name("reference")
GENERATED = "This page is written by `make docs` from the code; a test holds it to that."
# What a section is for; the registry says what may stand in it.
SECTION_TEXTS = {
    "dataset": "the data; may be left out where `mg.run(config, data=…)` gives them",
    "validation": "which examples are held out; a split `val` of the data's own goes before",
    "loader": "how batches are made",
    "model": "the network",
    "loss": "what is minimised",
    "optimizer": "how",
    "metrics": "scores by names of your own",
    "post_processors": "what is computed of the outputs, for metrics and predictions, by names of your own",
    "encoding": "how inputs become numbers, fitted on each fold's training part; by default they are left as they are",
    "sampler": "how often each example is drawn; by default once an epoch",
    "augmentation": "how training batches are changed",
    "training_step": "a step that is not one gradient and one update, such as a GAN's",
    "averaging": "parameters averaged over steps, which evaluation and prediction use",
    "precision": "what the model computes in; float32 by default",
    "remat": "what is computed again in the backward pass; nothing by default",
    "parallel": "how one experiment is split over devices; by default only on accelerators with devices to spare",
    "warm_start": "parameters to begin with",
    "early_stopping": "when an experiment ends before its time",
    "checkpointing": "which epochs are kept; the newest always is",
    "search": "which experiments are tried; by default the product of all grids",
    "refit": "whether the selected hyperparameters train once more on all training data",
}
# The public names by what they are for; what is in none of these stands at the end.
PUBLIC = {
    "Configs": ("component", "grid", "uniform", "log_uniform", "int_uniform", "load_config", "register"),
    "Running": ("run", "resume", "forecast", "find_learning_rate", "evaluate", "reproduce", "load_run", "show_board"),
    "Results": ("RunResult", "ExperimentResult"),
    "The pure functions": ("build", "Components", "make_program", "Program", "TrainState"),
    "What components return": ("Dataset", "Model", "Metric", "mean_of", "TrainingStep"),
    "Errors": ("MlgymError", "ConfigError"),
}
_OF_LENGTH = "one of `num_epochs` and `num_steps`"
# Of this project, with what they are for; a test greps the code for others.
VARIABLES = {
    "MLGYM_JAX_ALERT": "set for what `python -m mlgym_jax.runs watch --command=…` starts: which kind of alert; [others](../share.md#alerts) have its facts",  # noqa: E501
    "MLGYM_JAX_ALERT_TEXT": "the same: the alert as a line",
    "MLGYM_JAX_ALERT_WEBHOOK": "where `python -m mlgym_jax.runs watch --on=…` and `python -m board_server --alerts=…` post alerts, as `--webhook`, which shows in the list of processes",  # noqa: E501
    "MLGYM_JAX_CACHE_DIR": "where compiled programs and plans that were measured are kept; `off` keeps none. By default `$XDG_CACHE_HOME/mlgym_jax`, else `~/.cache/mlgym_jax`",  # noqa: E501
    "MLGYM_JAX_DATA_DIR": "where the built-in data sets are built; by default `datasets` in the same folder",
    "MLGYM_JAX_DEVICE_MEMORY": "the bytes that a device may use, in place of what it says itself, or of a host device's share of the machine's memory",  # noqa: E501
    "MLGYM_JAX_BOARD_TOKEN": "the token that a run publishes to a board with; `--board_token_file` goes before",
    "MLGYM_JAX_BOARD_WAIT_SECONDS": "how long the end of a run waits for a board that is behind; 10 by default",
    "MLGYM_BOARD_TOKEN": "the token that a board asks for, to read and to write; `--token` goes before",
    "MLGYM_BOARD_READ_TOKEN": "the token with which one may only read; `--read_token` goes before",
}
# Of others, where this project reads them or they change what it does.
OTHER_VARIABLES = {
    "COLUMNS": "the width of tables, also in pipes",
    "JAX_PLATFORMS": "`cpu`, `cuda`, `tpu`: which devices; `export` sets it to `cpu`",
    "JAX_NUM_CPU_DEVICES": "how many devices a CPU is; by default as many as cores that this process may use",
    "JAX_DEBUG_NANS": "does not hold while a run trains, which is told; an experiment whose `train/loss` is not finite "
    "ends as failed",
    "XLA_FLAGS": "flags of the compiler; recorded with the run, because numbers may depend on them",
    "TFDS_DATA_DIR": 'where `component("tfds", …)` looks besides `~/tensorflow_datasets`',
    "MPLBACKEND": "`agg` where matplotlib finds no display",
}


class _Found(Exception):
    """Carries a command line's parser out of its main."""


def parsers_of(module):
    """Return the parsers of a command line, which its main makes: one, or one for each of its own commands."""
    if hasattr(module, "_parser") and not inspect.signature(module._parser).parameters:
        return [module._parser()]
    return [_parser_of(module, [name] if name else []) for name in getattr(module, "_COMMANDS", [None])]


def _parser_of(module, words):
    def found(self, *_):
        raise _Found(self)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", found),
        mock.patch.object(Parser, "parse_args", found),
    ):
        try:
            module._main(words)
        except _Found as carried:
            return carried.args[0]
    raise MlgymError(f"{module.__name__} {' '.join(words)}: its main asks no parser")


def commands():
    yield "# Command lines\n"
    yield f"{GENERATED} `python -m mlgym_jax` lists the commands; each says this with `--help`.\n"
    yield "A run is named by its id in `event_storage/`, by its folder, or as `latest`. Installed, the commands are"
    yield "also on the PATH: `mlgym-run`, `mlgym-report`, …, `mlgym-board`. Exit status: 0 done, 1 some"
    yield "experiments failed or a disk refused a write, 2 the request was wrong, 130 interrupted.\n"
    for name in (*COMMANDS, "board_server"):
        module = f"mlgym_jax.{name}" if name in COMMANDS else "board_server.__main__"
        for parser in parsers_of(importlib.import_module(module)):
            yield f"## `{parser.prog}`\n"
            yield f"{parser.description}\n"
            yield "| | |"
            yield "|---|---|"
            for action in parser._actions:
                if "--help" not in action.option_strings:
                    yield f"| {_spelled(action)} | {_meaning(action)} |"
            if parser.epilog:
                yield f"\n{parser.epilog}"
            yield ""


def _spelled(action):
    name = action.option_strings[0] if action.option_strings else action.metavar or action.dest
    values = "|".join(map(str, action.choices)) if action.choices else action.metavar or action.dest.upper()
    takes_none = action.nargs == 0 or not action.option_strings
    if takes_none:
        return f"`{name}`"
    return (f"`{name}[={values}]`" if action.nargs == "?" else f"`{name}={values}`").replace("|", "\\|")


def _meaning(action):
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    told = action.default not in (None, False, "", [], argparse.SUPPRESS) and "default" not in text
    return text + f" (default: `{action.default}`)" * told


def fields():
    yield "# Config fields\n"
    yield f"{GENERATED}\n"
    yield "What may stand in a section is in [the list of components](../components.md). Every field may be overridden,"
    yield "`--config.optimizer.learning_rate=0.01`, and parameters of components be swept, `grid(…)`.\n"
    yield "## Values\n"
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for name, (kind, default, text) in FIELDS.items():
        shown = f"`{default!r}`" if default is not None else "an epoch" if name.startswith("eval") else _OF_LENGTH
        yield f"| `{name}` | {kind.__name__} | {shown} | {text} |"
    yield "\n## Sections\n"
    yield "| section | default | |"
    yield "|---|---|---|"
    for name, is_required in SECTIONS.items():
        default = DEFAULT_SECTIONS.get(name)
        shown = "required" if is_required else f'`component("{default["component"]}")`' if default else "none"
        example = f"; `dict({OF_COMPONENTS[name]})`" if name in OF_COMPONENTS else ""
        kind = name.rstrip("s") if name in OF_COMPONENTS else name
        yield f"| [`{name}`](../components.md#{kind}) | {shown} | {SECTION_TEXTS[name]}{example} |"
    yield "\nAny other top-level field that is a component is a node of the graph, of a kind with its name; others may"
    yield "need it."


def rest():
    yield "# HTTP\n"
    yield f"{GENERATED}\n"
    yield "A board serves the same as an OpenAPI 3.1 document, with all schemas, at `/openapi.json`; WebSockets are in"
    yield "[events](../events.md). With a token set, requests carry `Authorization: Bearer TOKEN`; errors are"
    yield '`{"error": "…"}`.\n'
    yield "| request | | query |"
    yield "|---|---|---|"
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            queries = [entry for entry in operation["parameters"] if entry["in"] == "query"]
            asked = "; ".join(f"`{entry['name']}`: {entry['description']}" for entry in queries)
            is_open = " (no token needed)" if operation.get("security") == [] else ""
            yield f"| `{method.upper()} {path}` | {operation['summary']}{is_open} | {asked} |".replace("|  |", "| |")


def api():
    yield "# Python\n"
    yield f"{GENERATED} In the site, texts and types are those of the docstrings.\n"
    yield "`import mlgym_jax as mg`; every public name is here. Importing the package imports no JAX: a name is loaded"
    yield "when it is first used. [A first look](../python.md) shows them at work.\n"
    grouped = {name for names in PUBLIC.values() for name in names}
    more = [name for name in mlgym_jax.__all__ if name not in grouped and not name.startswith("_")]
    for title, names in {**PUBLIC, "More": more}.items():
        if names:
            yield f"## {title}\n"
            yield "```{eval-rst}"
            yield ".. currentmodule:: mlgym_jax"
            for name in names:
                what = getattr(mlgym_jax, name)
                yield f".. {_directive(what)}:: {name}"
                if isinstance(what, types.ModuleType) and not callable(what):  # a name for several functions
                    yield f"   :no-value:\n\n.. automodule:: {what.__name__}\n   :members:\n"
            yield "```\n"


def _directive(what):
    if not isinstance(what, type):
        return "autofunction" if callable(what) else "autodata"
    return "autoexception" if issubclass(what, Exception) else "autoclass"


def environment():
    yield "# Environment variables\n"
    yield f"{GENERATED}\n"
    for title, table in (("This project's", VARIABLES), ("Others' that matter here", OTHER_VARIABLES)):
        yield f"## {title}\n"
        yield "| variable | |"
        yield "|---|---|"
        for name, text in table.items():
            yield f"| `{name}` | {text} |"
        yield ""


PAGES = {"api.md": api, "commands.md": commands, "fields.md": fields, "rest.md": rest, "environment.md": environment}


def page(name):
    """Return the text of one page."""
    return "\n".join(PAGES[name]()).rstrip("\n") + "\n"


if __name__ == "__main__":
    stale = [
        name for name in PAGES if not (FOLDER / name).is_file() or (FOLDER / name).read_text("utf-8") != page(name)
    ]
    if "--check" in sys.argv and stale:
        sys.exit(f"docs/reference/{', '.join(stale)}: stale, type `make docs`")
    for name in stale:
        (FOLDER / name).write_text(page(name), encoding="utf-8")
