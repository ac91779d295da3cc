"""Runs in one file that a browser opens without a server: the board's own page, and in it all that it would ask for.

The page's script, its style and the data are parts of the file, which may load nothing else (Content-Security-Policy).
What runs say stands in it as base64, so nothing of it can be markup.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import os
import re
import struct
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import quote

from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import default_mode, encode, layout, run_summary
from mlgym_jax.events.annotation_log import read_annotations
from mlgym_jax.events.answers import experiment_as_data, run_as_data
from mlgym_jax.events.files import write_whole
from mlgym_jax.events.verdict import kept_epochs
from mlgym_jax.reading.all_curves import all_in_binary
from mlgym_jax.reading.results import RunResult

VERSION = 1
GENERATOR = b'<meta name="generator" content="mlgym_jax.report">'
MAX_VALUES = 16_000_000  # scores of all runs, which take 8 bytes each, and 11 in the file
MAX_CARDS = 200  # model cards of a run
MAX_VERDICTS = 12  # scores of a run by which a verdict is in the file
_MAX_CARD_BYTES = 1 << 20
_LEVEL = 6  # of compression: digits of scores are as good as random


class Written(NamedTuple):
    """A file that was written: its size, and whether it took the place of an older one."""

    path: str
    num_bytes: int
    replaced: bool


def write_page_file(
    results: Sequence[RunResult], path: str, *, monitor: str | None = None, mode: str | None = None
) -> Written:
    """Write runs into one file of HTML.

    Args:
        monitor, mode: what the page ranks by at first; by default each run's own.

    Raises:
        MlgymError: the page is not built, the runs are too large or of one id, or `path` is something else.
        DiskError: the file cannot be written.
    """
    replaced = _may_replace(path)
    data = page_file(results, monitor=monitor, mode=mode)
    try:
        write_whole(path, data)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written: {error.strerror}") from error
    return Written(path, len(data), replaced)


def page_file(results: Sequence[RunResult], *, monitor: str | None = None, mode: str | None = None) -> bytes:
    """Return runs as one file of HTML; see `write_page_file`."""
    ids = [result.run_id for result in results]
    if twice := {run_id for run_id in ids if ids.count(run_id) > 1}:
        raise MlgymError(f"{sorted(twice)[0]}: two of these runs have this id; a file holds one of them")
    number = sum(
        len(values) for one in results for view in one.view.experiments.values() for values in view.history.values()
    )
    if number > MAX_VALUES:
        raise MlgymError(
            f"these runs have {number:,} scores, and a file holds {MAX_VALUES:,}, as browsers read it whole; give "
            "fewer runs, or --csv"
        )
    script, style, icon = _page()
    titles = [f"{result.view.name or result.run_id}" for result in results]
    params = {"by": monitor, "mode": mode}
    asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items() if value)
    first = f"#/runs/{quote(ids[0], safe='')}/overview" if len(ids) == 1 else "#/runs"
    first += f"?{asked}" if asked and len(ids) == 1 else ""
    saved = _saved(results, first, monitor, mode)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return b"".join(
        (
            b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            b'<meta http-equiv="Content-Security-Policy" content="%s">\n%s\n' % (policy.encode(), GENERATOR),
            b'<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            b'<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n',
            b"<title>%s</title>\n" % html.escape(", ".join(titles)).encode("utf-8", "replace"),
            b'<link rel="icon" href="data:image/svg+xml;base64,%s">\n' % base64.b64encode(icon),
            b'<style>%s</style>\n</head>\n<body>\n<div id="page"></div>\n' % style,
            b"<noscript>This file needs JavaScript, which a preview of mails does not run: open it in a browser.",
            b'</noscript>\n<script type="text/plain" id="saved-runs">%s</script>\n' % base64.b64encode(saved),
            b'<script type="module">%s</script>\n</body>\n</html>\n' % script,
        )
    )


def _saved(results: Sequence[RunResult], first: str, monitor: str | None, mode: str | None) -> bytes:
    """Return what the page would ask a board for, packed: the length of a JSON text, that text, the curves."""
    curves = [all_in_binary(result.run_id, result.view) for result in results]
    runs: dict[str, Any] = {}
    offset = 0
    for result, data in zip(results, curves, strict=True):
        runs[result.run_id] = {**_answers(result, monitor, mode), "scores": [offset, len(data)]}
        offset += len(data)
    listed = [_listed(result) for result in results]
    now_ms = time.time_ns() // 1_000_000
    text = encode({"version": VERSION, "made_ms": now_ms, "first": first, "grid_searches": listed, "runs": runs})
    text += b" " * (-(len(text) + 4) % 8)
    return gzip.compress(b"".join([struct.pack("<I", len(text)), text, *curves]), _LEVEL, mtime=0)


def _answers(result: RunResult, monitor: str | None, mode: str | None) -> dict[str, Any]:
    view = result.view
    usual = result.verdict(monitor, mode)
    names = dict.fromkeys([str(usual["monitor"]), *view.scores]) if usual["monitor"] else {}
    verdicts = {}
    for name in list(names)[:MAX_VERDICTS]:
        way = usual["mode"] if name == usual["monitor"] else default_mode(name, view.config)
        verdicts[name] = usual if name == usual["monitor"] else result.verdict(name, way)
    top = [one["experiment_id"] for one in usual["top"]]
    return {
        "detail": run_as_data(result.run_id, view, 0, False, result.is_lost),
        "experiments": [
            experiment_as_data(one, max(kept_epochs(view, one), default=-1), with_config=True)
            for one in view.experiments.values()
        ],
        "verdict": usual,
        "verdicts": verdicts,
        "cards": _cards(result.run_dir, dict.fromkeys([*top, *view.experiments])),
    }


def _listed(result: RunResult) -> Mapping[str, Any]:
    """Return a run's row in the list of runs, of what was read of it."""
    log = os.path.join(result.run_dir, layout.LOG)
    summary = run_summary.summarise(result.view)
    try:
        size, modified_ms = os.stat(log).st_size, os.stat(log).st_mtime_ns // 1_000_000
    except OSError:
        size, modified_ms = 0, None
    return run_summary.row(
        result.run_id,
        {**summary, "owner": run_summary.owner(result.run_dir)},
        read_annotations(result.run_dir).run.in_a_row(),
        published=False,
        modified_ms=modified_ms,
        num_bytes=size,
        is_newest=True,
        status="LOST" if result.is_lost and summary["status"] == "RUNNING" else summary["status"],
    )


def _cards(run_dir: str, experiments: Mapping[int, None]) -> dict[str, Any]:
    """Return the model cards that there are, as the texts of their files, of the first of these experiments."""
    found: dict[str, Any] = {}
    for number in experiments:
        if len(found) == MAX_CARDS:
            break
        try:
            with open(os.path.join(run_dir, str(number), layout.MODEL_CARD), encoding="utf-8") as file:
                found[str(number)] = file.read(_MAX_CARD_BYTES)
        except (OSError, ValueError):
            continue
    return found


def _page() -> tuple[bytes, bytes, bytes]:
    """Return the built page's script, style and icon, such as may stand inside of HTML.

    Raises:
        MlgymError: it is not built.
    """
    try:
        folder = resources.files("board_server") / "static"
        index = (folder / "index.html").read_text(encoding="utf-8")
        script = (folder / "whole.js").read_bytes()  # what a server sends in parts
        style = (folder / _one(r'<link[^>]* href="\./(assets/[\w.-]+\.css)"', index)).read_bytes()
        icon = (folder / _one(r'<link[^>]* href="\./(assets/[\w.-]+\.svg)"', index)).read_bytes()
    except (ModuleNotFoundError, OSError, ValueError) as error:
        raise MlgymError(
            f"the board's page is not built here ({error}); in a checkout `make page` builds it, and installing "
            "mlgym_jax with pip does"
        ) from error
    script = script.replace(b"</script", b"<\\/script").replace(b"<!--", b"<\\!--")
    return script, style.replace(b"</style", b"<\\/style"), icon


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise ValueError("its index.html is not what was expected")
    return found[1]


def _hash(data: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}'"


def _may_replace(path: str) -> bool:
    """Return whether a file of this kind is there already.

    Raises:
        MlgymError: what is there is something else.
    """
    if os.path.isdir(path):
        raise MlgymError(f"--html={path}: it is a folder; write --html={os.path.join(path, 'report.html')}")
    try:
        with open(path, "rb") as file:
            if GENERATOR not in file.read(4096):
                raise MlgymError(f"--html={path}: a file is there that is no such report; give another name")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise MlgymError(f"--html={path}: cannot be read: {error.strerror}") from error
    return True
