"""Checkpoints as files to download: those that remote runs uploaded, and those of runs on this machine.

    <run>/checkpoints/received/<experiment>/<epoch>/<resource>.safetensors      uploaded, beside it its SHA-256
    <run>/checkpoints/group_<n>/<step>/…                                        a local run's own, by Orbax

The server itself reads of the latter only which rows they hold; `exporter.py` hands them out.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import hashlib
import os
import re
import threading
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from safetensors import SafetensorError, safe_open

from board_server.errors import Conflict, NotFound, WrongRequest, disk_refuses
from board_server.run import Run
from mlgym_jax.events import layout
from mlgym_jax.events.files import write_whole

RESOURCES = tuple(layout.RESOURCES)
MAX_CHUNK_BYTES = 1 << 23
_MAX_CHECKPOINT_BYTES = 1 << 36
_META_BYTES = 1 << 26


def checked_resource(name: str) -> str:
    """Return the name of a resource.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in RESOURCES:
        raise NotFound(f"no resource {name[:40]!r}; a checkpoint has {', '.join(RESOURCES)}")
    return name


# -- what there is ----------------------------------------------------------------------------------------------------


def available(run: Run) -> dict[tuple[int, int], list[str]]:
    """Return (experiment_id, epoch) -> the resources that can be downloaded."""
    found = {who: list(RESOURCES) for who in own_rows(run)}
    root = _received_folder(run)
    for experiment in _numbered(root):
        for epoch in _numbered(os.path.join(root, str(experiment))):
            folder = os.path.join(root, str(experiment), str(epoch))
            if not run.is_inside(folder):
                continue
            here = [name for name in RESOURCES if os.path.isfile(os.path.join(folder, f"{name}.safetensors"))]
            if here:
                found.setdefault((experiment, epoch), here)
    return dict(sorted(found.items()))


def own_rows(run: Run) -> set[tuple[int, int]]:
    """Return the rows that a run's own checkpoints hold: what their strategies keep, and each experiment's last."""
    rows: set[tuple[int, int]] = set()
    root = os.path.join(run.folder, layout.CHECKPOINTS)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for group in os.listdir(root):
            if layout.group_index(group) is not None:
                rows |= _rows_of_group(run, os.path.join(root, group))
    return rows


class _Meta(msgspec.Struct, frozen=True):
    """What a step says of itself, as `mlgym_jax.checkpoint` writes it."""

    experiments: list[int]
    row_epochs: list[int]
    kept: list[tuple[int, int]]
    wanted: list[tuple[int, int]]


def _rows_of_group(run: Run, folder: str) -> set[tuple[int, int]]:
    paths = [os.path.join(folder, str(step)) for step in sorted(_numbered(folder))]
    if not all(map(run.is_inside, (folder, *paths))):
        return set()  # a link out of the storage; the process that would export it follows all of them
    steps = [meta for path in paths if (meta := _meta(path))]
    if not steps:
        return set()
    newest = steps[-1]
    kept = {who for step in steps for who in step.kept}
    last = zip(newest.experiments, newest.row_epochs, strict=True)
    return {who for who in newest.wanted if who in kept} | {who for who in last if who[1] > 0}


def _meta(step: str) -> _Meta | None:
    path = os.path.join(step, "meta", "metadata")
    try:
        status = os.stat(path)
    except OSError:
        return None  # being written
    return _read_meta(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _read_meta(path: str, _modified_ns: int, size: int) -> _Meta | None:
    try:
        if size > _META_BYTES:
            return None
        with open(path, "rb") as file:
            meta = msgspec.json.decode(file.read(), type=_Meta)
    except (OSError, ValueError, RecursionError):
        return None  # damaged: the run itself says so when it reads it
    return meta if len(meta.experiments) == len(meta.row_epochs) else None


def _numbered(folder: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if re.fullmatch(r"[0-9]{1,9}", name)]
    except OSError:
        return []


def _received_folder(run: Run) -> str:
    return os.path.join(run.folder, layout.CHECKPOINTS, layout.RECEIVED)


def received_path(run: Run, experiment_id: int, epoch: int, resource: str) -> str:
    """Return where an uploaded resource lies, or would.

    Raises:
        NotFound: it is a link out of the storage.
    """
    path = os.path.join(_received_folder(run), str(experiment_id), str(epoch), f"{resource}.safetensors")
    return run.checked_inside(run.checked_inside(path) + ".part").removesuffix(".part")


def received(run: Run, experiment_id: int, epoch: int, resource: str) -> tuple[str, str | None] | tuple[None, None]:
    """Return the path of an uploaded resource and its SHA-256, as it was checked when it came; Nones without one.

    Raises:
        NotFound: it is a link out of the storage.
    """
    path = received_path(run, experiment_id, epoch, resource)
    return (path, _digest_of(path)) if os.path.isfile(path) else (None, None)


def _digest_of(path: str) -> str | None:
    with contextlib.suppress(OSError), open(f"{path}.sha256", encoding="ascii") as file:
        return file.read(64)
    return None


# -- uploads ----------------------------------------------------------------------------------------------------------


def parse_range(header: str | None, length: int) -> tuple[int, int]:
    """Return (first byte, total) of `Content-Range: bytes a-b/total`; without the header the body is all of it.

    Raises:
        WrongRequest: anything else, or a range that is not the body's length.
    """
    if header is None:
        return 0, length
    match = re.fullmatch(r"bytes ([0-9]{1,12})-([0-9]{1,12})/([0-9]{1,12})", header.strip())
    if not match:
        raise WrongRequest(f"Content-Range: found {header[:60]!r}; write it as: bytes 0-1023/4096")
    first, last, total = map(int, match.groups())
    if last - first + 1 != length or last >= total or total > _MAX_CHECKPOINT_BYTES:
        raise WrongRequest(f"Content-Range: {header[:60]!r} does not fit a body of {length} bytes")
    return first, total


def parse_digest(header: str | None) -> str | None:
    """Return the SHA-256 of `Repr-Digest: sha-256=:…:` (RFC 9530) in hexadecimal, None without one.

    Raises:
        WrongRequest: it is no SHA-256.
    """
    if header is None:
        return None
    match = re.search(r"sha-256=:([A-Za-z0-9+/=]{40,60}):", header)
    try:
        found = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        found = b""
    if len(found) != 32:
        raise WrongRequest("Repr-Digest: write it as: sha-256=:BASE64:")
    return found.hex()


_UPLOADS: WeakValueDictionary[str, Any] = WeakValueDictionary()


class _Upload:
    """Held while something is written to one file; a client that leaves does not end the thread that writes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def receive_chunk(path: str, data: bytes, *, first: int, total: int, digest: str | None) -> int:
    """Append a chunk to an upload, and put the whole in place when it is complete; return how many bytes are there.

    Raises:
        Conflict: the chunk does not begin where the upload stands; `received` says where that is.
        WrongRequest: the whole has another digest than was said, or none was.
        TryLater: the disk refuses.
    """
    upload = _UPLOADS.setdefault(path, _Upload())
    with upload.lock:
        try:
            return _receive_chunk(path, f"{path}.part", data, first, total, digest)
        except OSError as error:
            raise disk_refuses(error) from error


def _receive_chunk(path: str, part: str, data: bytes, first: int, total: int, digest: str | None) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(part, "ab") as file:
        if first == 0:
            file.truncate(0)
        have = file.tell() if first else 0
        if have != first:
            raise Conflict(f"{have} bytes are here; go on from there", received=have)
        if first + len(data) == total and digest is None:
            raise WrongRequest("Repr-Digest is missing on the last chunk; write it as: sha-256=:BASE64:")
        file.write(data)
        file.flush()
        if first + len(data) < total:
            return first + len(data)
        os.fsync(file.fileno())
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        os.unlink(part)
        raise WrongRequest(f"the SHA-256 of what was received is {found}, not {digest}; send it again from 0")
    try:
        with safe_open(part, "numpy"):  # which reads the head, and compares it with the length
            pass
    except SafetensorError as error:
        os.unlink(part)
        raise WrongRequest(f"a safetensors file is expected: {error}") from error
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.sha256")  # of what was here before
    os.replace(part, path)
    write_whole(f"{path}.sha256", found.encode())  # with whose name that of the file comes to the disk
    return total


def delete(run: Run, experiment_id: int, epoch: int, resource: str | None) -> int:
    """Delete uploaded resources; return how many.

    Raises:
        NotFound: there is none; Conflict: the checkpoint is the run's own.
    """
    names = RESOURCES if resource is None else (resource,)
    paths = [received_path(run, experiment_id, epoch, name) for name in names]
    present = [path for path in paths if os.path.exists(path)]
    if not present:
        if (experiment_id, epoch) in own_rows(run):
            raise Conflict("this checkpoint is part of a group's, which the run itself needs to be resumed")
        raise NotFound(f"experiment {experiment_id} has no such checkpoint of epoch {epoch}")
    for path in present:
        for name in (path, f"{path}.sha256", f"{path}.part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    return len(present)
