"""What the engine and the board must spell alike: names of a run's files, its id, parts of checkpoints, odd numbers.

<event_storage>/<run_id>/
  event_storage.log                        the one truth
  event_storage.log.damaged                what stood at its end and was no event, put aside
  annotations.log                          what people say of the run: notes, tags, archived, deleted
  config.py  config.json  run.json         the config as given, as resolved; where the numbers come from
  sources/…                                those of the run's own components
  tokenizers/…                             those of its texts, by the hash of the section `dataset`
  encodings/…                              what encodings of streamed data learnt in one pass
  data/…                                   what was given as `data=`
  profile/…                                a trace of JAX's profiler
  .published                               a board's mark: the run was received, no process here writes it
  received.txt                             the same in words, for who looks into the folder or copies what is in it
  <experiment_id>/experiment_config.json  model_card.json  model_card.md
  <experiment_id>/media/<SHA-256>.png      images that metrics recorded
  checkpoints/group_<n>/<step>/…           the run's own
  checkpoints/received/…                   what a board got
  checkpoints/refused/group_<n>/<step>/…   what a resume could not use, put aside
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

STORAGE = "event_storage"  # the folder of runs where none is named
LATEST = "latest"  # stands for the run that began last
LOG = "event_storage.log"
ANNOTATIONS = "annotations.log"
CONFIG_SOURCE = "config.py"
CONFIG = "config.json"
RECORD = "run.json"
RUN_FILES = (CONFIG_SOURCE, CONFIG, RECORD)  # beside the log

SOURCES = "sources"  # a folder beside the log
DATA = "data"  # another
TOKENIZERS = "tokenizers"  # another
ENCODINGS = "encodings"  # another
PROFILE = "profile"  # another

EXPERIMENT_CONFIG = "experiment_config.json"
MEDIA = "media"  # a folder in an experiment's, of images by the SHA-256 of their files
MODEL_CARD = "model_card.json"
MODEL_CARD_TEXT = "model_card.md"
EXPERIMENT_FILES = (EXPERIMENT_CONFIG, MODEL_CARD, MODEL_CARD_TEXT)

PUBLISHED_MARK = ".published"
RECEIVED_MARK = "received.txt"
RECEIVED_WORDS = (
    b"This run came from another machine through a board. Reading it executes nothing; going on with it, repeating\n"
    b"it and predicting with it would execute its code, and are refused without --trust (in Python trust=True).\n"
)
CHECKPOINTS = "checkpoints"
MIDDLE = "middle"  # inside of it: a file a group, of where a long epoch stands
RECEIVED = "received"
REFUSED = "refused"

# Resource of a checkpoint -> the parts of a TrainState that it holds; together they are the whole of it.
RESOURCES = {
    "model": ("params", "model_state"),
    "optimizer": ("opt_state",),
    "lr_scheduler": ("step",),
    "stateful_components": ("key", "hyperparams"),
}

ID_PATTERN = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
ID_RULE = "1 to 128 of the characters A-Z a-z 0-9 . _ -, not beginning with a dot"

# What was recorded of an experiment: one mapping of scores an epoch, {"train/loss": 0.3, "val/accuracy": 0.9}.
History = Sequence[Mapping[str, float]]

_SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def is_id(text: str) -> bool:
    """Tell whether a text may name a run: it is a part of paths and addresses. Hidden folders are no runs."""
    return isinstance(text, str) and re.fullmatch(ID_PATTERN, text) is not None


def group_name(index: int) -> str:
    """Return the folder of a group's checkpoints, inside of `CHECKPOINTS`."""
    return f"group_{index}"


def group_index(name: str) -> int | None:
    """Return which group's checkpoints a folder holds; None for any other folder."""
    match = re.fullmatch(r"group_([0-9]+)", name)
    return int(match[1]) if match else None


def spell_number(value: Any) -> Any:
    """Return "NaN", "Infinity" or "-Infinity" for a float that JSON does not have, and any other value as it is."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def decode_number(value: Any) -> Any:
    """Return the float that "NaN", "Infinity" or "-Infinity" stands for, and any other value as it is."""
    return _SPELLED.get(value, value) if isinstance(value, str) else value
