"""A run's folder: its id, the files that let it be repeated, and reading them back."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mlgym_jax.config.words import canonical_json
from mlgym_jax.errors import DiskError, MlgymError, described, kind_of, listed, nearest, path_of
from mlgym_jax.events import layout
from mlgym_jax.events.annotation_log import read_annotations
from mlgym_jax.events.claim import claimed, is_empty, never_began, remove_left
from mlgym_jax.events.codec import decode
from mlgym_jax.events.files import fsync_folder, write_whole
from mlgym_jax.events.log import is_being_written

_FIRST_LINE_BYTES = 1 << 26  # the first event holds the whole config
_LEFT_AFTER_SECONDS = 5.0  # as on the board


def create(event_storage: str, run_id: str | None, now: datetime.datetime, *, take_empty: bool = False) -> str:
    """Make a new run's folder and return its path; the id is the UTC time, with -2, -3… where that is taken.

    A folder whose beginning was cut short before its log is taken over by whoever names its id; an empty one, with
    `take_empty`, by its time, too.

    Raises:
        MlgymError: the id is not allowed or taken; DiskError: the folder cannot be made.
    """
    if run_id is not None:
        check_id(run_id, "--run_id")
    stamp = run_id or now.strftime("%Y-%m-%d--%H-%M-%S")
    if os.path.abspath(event_storage).encode("utf-8", "replace") != os.fsencode(os.path.abspath(event_storage)):
        raise MlgymError(
            f"--event_storage={event_storage}: the folder's path has bytes that are no UTF-8, and checkpoints are not "
            "written there; name another folder"
        )
    try:
        os.makedirs(event_storage, exist_ok=True)
        for attempt in range(1, 10_000):
            folder = os.path.join(event_storage, stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                os.mkdir(folder)
                fsync_folder(event_storage)
                return folder
            except FileExistsError:
                if (take_empty and is_empty(folder)) or (run_id is not None and never_began(folder)):
                    return folder
                if run_id is not None:
                    raise _taken(folder) from None
    except OSError as error:
        kind = DiskError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else MlgymError
        raise kind(
            f"--event_storage={event_storage}: it cannot hold a run's folder ({error.strerror}: {error.filename}); "
            "name a folder that can be written"
        ) from error
    raise MlgymError(f"{event_storage}: no free run id for {stamp}")


def _taken(folder: str) -> MlgymError:
    run_id, is_run = os.path.basename(folder), os.path.isfile(os.path.join(folder, layout.LOG))
    go_on = f"; go on with it by --resume={run_id}, or choose" if is_run else ", and is no run's folder; choose"
    return MlgymError(f"--run_id={run_id}: {folder} is there already{go_on} another id")


@contextlib.contextmanager
def beginning(event_storage: str, run_id: str | None, now: datetime.datetime) -> Iterator[str]:
    """Make a new run's folder, as `create` does, and be the one process that fills it until its log is open.

    Raises:
        MlgymError: see `create`; or another process is beginning this run. DiskError: there is no room for it yet.
    """
    folder = create(event_storage, run_id, now)
    name = os.path.basename(folder)
    try:
        with claimed(folder):
            if not never_began(folder):
                raise _taken(folder)
            remove_left(folder)
            yield folder
    except BlockingIOError as error:
        raise MlgymError(f"--run_id={name}: another process is beginning this run; choose another id") from error
    except DiskError as error:
        raise DiskError(
            f"{error}. Nothing was recorded yet; once there is room, give the same command with --run_id={name}"
        ) from error


def check_id(run_id: str, what: str = "run id") -> None:
    """Refuse what is no run's id.

    Raises:
        MlgymError: see there.
    """
    if not layout.is_id(run_id):
        raise MlgymError(f"{what}={run_id}: allowed are {layout.ID_RULE}")


def find(event_storage: str, run_id: str) -> str:
    """Return the folder of an existing run, of the one that began last where `latest` is no run's own id.

    Raises:
        MlgymError: there is none; the nearest id is named.
    """
    folder = os.path.join(event_storage, run_id)
    if run_id == layout.LATEST and not os.path.lexists(folder):
        return os.path.join(event_storage, latest(event_storage))
    if os.path.isfile(os.path.join(folder, layout.LOG)):
        return folder
    if os.path.isdir(folder) and never_began(folder):
        raise MlgymError(
            f"no run {run_id!r} in {event_storage!r} that has begun: its folder has no log yet, so there is nothing to "
            f"go on from. Start it with --run_id={run_id} and the --config that it was given"
        )
    inside = runs_in(folder)
    if inside:
        raise MlgymError(f"{folder} is no run's folder, but holds runs: {listed(inside[::-1], 5)}; name one of them")
    runs = runs_in(event_storage)
    raise MlgymError(
        f"no run {run_id!r} in {event_storage!r}{nearest(run_id, runs)} Runs there: {listed(runs[::-1], 5)}"
    )


def runs_in(folder: str) -> list[str]:
    """Return the ids of the runs in a folder, sorted; what is hidden is not whole yet, or is being removed."""
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(folder) if name[0] != ".")
        return [name for name in names if os.path.isfile(os.path.join(folder, name, layout.LOG))]
    return []


def require(run_dir: str | os.PathLike[str]) -> str:
    """Return the absolute path of a run: of its folder, by its id in `event_storage` here, or of the `latest` one.

    Raises:
        MlgymError: there is none; what is there is named.
    """
    given = path_of(run_dir, "a run")
    folder = os.path.abspath(given)
    is_run = os.path.isfile(os.path.join(folder, layout.LOG))
    if not is_run and os.path.basename(given) == given and runs_in(layout.STORAGE):
        folder = os.path.join(os.path.abspath(layout.STORAGE), given)
    return find(os.path.dirname(folder), os.path.basename(folder))


def shortest_name(run_dir: str) -> str:
    """Return what finds a run from here, as `require` does: its id in `event_storage`, else its folder."""
    folder = os.path.abspath(run_dir)
    if os.path.dirname(folder) == os.path.abspath(layout.STORAGE):
        return os.path.basename(folder)
    inside = os.path.relpath(folder)
    if inside.startswith((os.pardir, os.curdir)):
        return folder
    return inside if os.path.dirname(inside) else os.path.join(os.curdir, inside)  # a bare name is an id


def is_left(run_dir: str) -> bool:
    """Tell whether nobody writes a run's log any more: nobody holds it, and nothing came for a while."""
    path = os.path.join(run_dir, layout.LOG)
    try:
        quiet = time.time() - os.stat(path).st_mtime
    except OSError:
        return False
    return quiet >= _LEFT_AFTER_SECONDS and not is_being_written(path)


def latest(event_storage: str) -> str:
    """Return the id of the run in a folder that began last, by the first event of its log; deleted runs do not count.

    Raises:
        MlgymError: there are no runs.
    """
    began = {run: _began_ms(os.path.join(event_storage, run, layout.LOG)) for run in runs_in(event_storage)}
    for run in sorted(began, key=lambda run: (began[run], run), reverse=True):
        if not read_annotations(os.path.join(event_storage, run)).run.deleted:
            return run
    raise MlgymError(f"there are no runs in {event_storage!r}, so none is the latest; name a run's folder")


def _began_ms(log: str) -> int:
    try:
        with open(log, "rb") as file:
            began = decode(file.readline(_FIRST_LINE_BYTES)).get("creation_ts")
    except (OSError, ValueError):  # a log that is damaged or just being made
        return 0
    return began if isinstance(began, int) else 0


def write_text(path: str, text: str, *, fsync: bool = True) -> None:
    """Write a file whole or not at all; without `fsync` what the log could make again, of which there are many.

    Bytes of file names that are no text come as JSON escapes them, which reading it gives back.

    Raises:
        DiskError: the disk refuses.
    """
    try:
        write_whole(path, text.encode("utf-8", "backslashreplace"), fsync=fsync)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written: {error.strerror}") from error


def write_json(path: str, data: Any, *, fsync: bool = True) -> None:
    """Write indented JSON as `write_text` writes text; NumPy's numbers and arrays as the numbers that they hold."""
    text = json.dumps(data, ensure_ascii=False, default=_plain)
    try:  # the same text as `json` indents, in a tenth of the time
        text = msgspec.json.format(text, indent=2)
    except ValueError:  # NaN and infinities
        text = json.dumps(data, indent=2, ensure_ascii=False, default=_plain)
    write_text(path, text + "\n", fsync=fsync)


def _plain(value: Any) -> Any:
    """Write what JSON does not know; what is only described must not undo a training that is done."""
    return value.tolist() if hasattr(value, "tolist") else described(value)


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises:
        MlgymError: it is missing or damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise MlgymError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def write_config(run_dir: str, study: Mapping[str, Any], source: str | None) -> None:
    """Write `config.json`, resolved, and `config.py`, the file as given (or one that says the same)."""
    write_resolved(run_dir, study)
    target = os.path.join(run_dir, layout.CONFIG_SOURCE)
    if source is not None and not source.endswith(".json"):  # what another run recorded is no Python
        try:
            with open(source, "rb") as file:
                write_whole(target, file.read())
        except OSError as error:
            raise DiskError(f"{target}: cannot be written: {error.strerror}") from error
        return
    write_text(
        target,
        '"""Written from a config that was made in Python; config.json beside it holds the values."""\n'
        "import json\nimport pathlib\n\nfrom ml_collections import ConfigDict\n\n\n"
        "def get_config():\n"
        '    return ConfigDict(json.loads(pathlib.Path(__file__).with_name("config.json").read_text()))\n',
    )


def read_resolved(run_dir: str) -> dict[str, Any]:
    """Read `config.json`; from here on the data that the run was given are found, if it has kept them.

    Raises:
        MlgymError: it is missing or damaged.
    """
    from mlgym_jax.data.given import lies_at  # here, so that publishing a run needs no NumPy

    lies_at(run_dir)
    return read_json(os.path.join(run_dir, layout.CONFIG))


def write_resolved(run_dir: str, study: Mapping[str, Any]) -> None:
    """Write `config.json`, the resolved config."""
    write_json(os.path.join(run_dir, layout.CONFIG), json.loads(canonical_json(study)))


# What of a record is read again, and what it is.
_RECORDED = {
    "config_file": str,
    "data_fingerprint": dict,
    "imported": dict,
    "launches": list,
    "sources": list,
    "teachers": dict,
    "versions": dict,
    "working_directory": str,
    "xla_flags": str,
}
_OF_A_SOURCE = {"file": str, "module": str, "path": str}
_OF_A_LAUNCH = {"devices": list, "energy": dict, "requested_plan": str, "settings": dict, "versions": dict}


def read_record(run_dir: str) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        MlgymError: it is missing or damaged.
    """
    path = os.path.join(run_dir, layout.RECORD)
    record = read_json(path)
    _check_form(path, "", record, _RECORDED)
    record["launches"] = record.get("launches") or []
    for name, form in (("launches", _OF_A_LAUNCH), ("sources", _OF_A_SOURCE)):
        for number, entry in enumerate(record.get(name) or ()):
            _check_form(path, f"{name}.{number}", entry, form)
    return record


def _check_form(path: str, place: str, found: Any, form: Mapping[str, type]) -> None:
    """Refuse what this program has not written.

    Raises:
        MlgymError: a value of another type, with its place.
    """
    expected: list[tuple[str, Any, type]] = [(place, found, dict)]
    if isinstance(found, dict):
        expected += [(f"{place}.{name}".strip("."), found[name], form[name]) for name in form if name in found]
    for where, value, kind in expected:
        if not isinstance(value, kind) and not (value is None and where != place):
            raise MlgymError(
                f"{path}: it is damaged, or somebody has changed it: {where or 'the whole'} is {described(value, 40)}, "
                f"{kind_of(kind)} is expected. Put back what was there, from a copy"
            )


def write_record(run_dir: str, record: Mapping[str, Any]) -> None:
    """Write `run.json`."""
    write_json(os.path.join(run_dir, layout.RECORD), record)


def refuse_imported(run_dir: str, record: Mapping[str, Any]) -> None:
    """Refuse to go on with what was never trained here.

    Raises:
        MlgymError: the run was made of another tracker's logs.
    """
    origin = record.get("imported")
    if origin:
        raise MlgymError(
            f"{run_dir}: this run was imported from {origin.get('source')} ({origin.get('format')}): it has scores to "
            "be read, but no config to train by and no checkpoints. `report` and the board show it"
        )
