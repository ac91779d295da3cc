"""What people say of a run and of its experiments: notes, tags, archived, deleted. Each change is one event.

The events stand in a log of their own beside the run's (`layout.ANNOTATIONS`), which many may write
(`annotation_log.annotate`); what holds now is a projection of them, so that nothing that was said before is lost.

Synopsis:

>>> from mlgym_jax.events.annotations import Annotations, Archived, NoteSet, TagAdded
>>> found = Annotations()
>>> [found.apply(change, now_ms=0) for change in (TagAdded("good"), TagAdded("good"), NoteSet("why", experiment_id=3))]
[True, False, True]
>>> found.run.tags, found.experiments[3].note
(['good'], 'why')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec

from mlgym_jax.errors import MlgymError, described, listed, nearest
from mlgym_jax.events.codec import Event, decode
from mlgym_jax.events.values import readable

MAX_NOTE_BYTES = 1 << 16
_MAX_NOTE_IN_A_ROW = 200  # characters
MAX_TAGS = 100  # of a run, and of each of its experiments
MAX_TAG_LENGTH = 64
MAX_NAME_LENGTH = 64  # of who says it
MAX_EXPERIMENT = 999_999_999
_NOT_IN_A_NOTE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all control characters but tab and newline


class _Change(msgspec.Struct, tag_field="event_type", frozen=True, forbid_unknown_fields=True):
    """A change; `experiment_id` is None where it is said of the whole run."""


class NoteSet(_Change, tag="note_set", frozen=True):
    """The note is this text now; the empty one is none."""

    note: str
    experiment_id: int | None = None


class TagAdded(_Change, tag="tag_added", frozen=True):
    """It has this tag."""

    tag: str
    experiment_id: int | None = None


class TagRemoved(_Change, tag="tag_removed", frozen=True):
    """It has this tag no more."""

    tag: str
    experiment_id: int | None = None


class Archived(_Change, tag="archived", frozen=True):
    """It is kept, and out of the way."""

    experiment_id: int | None = None


class Unarchived(_Change, tag="unarchived", frozen=True):
    """It is not archived any more."""

    experiment_id: int | None = None


class Deleted(_Change, tag="deleted", frozen=True):
    """It is shown nowhere, until it is restored; nothing is removed from the disk."""

    experiment_id: int | None = None


class Restored(_Change, tag="restored", frozen=True):
    """It is not deleted any more."""

    experiment_id: int | None = None


Change = NoteSet | TagAdded | TagRemoved | Archived | Unarchived | Deleted | Restored
_KINDS: dict[str, Any] = {kind.__struct_config__.tag: kind for kind in get_args(Change)}
CHANGES = tuple(_KINDS)


@dataclass(slots=True)
class Annotated:
    """What is said of a run, or of an experiment; `deleted_ms` is when it was deleted, unix milliseconds."""

    note: str = ""
    tags: list[str] = field(default_factory=list)
    archived: bool = False
    deleted_ms: int | None = None

    @property
    def deleted(self) -> bool:
        return self.deleted_ms is not None

    def as_json(self) -> dict[str, Any]:
        """Return it as the board answers it."""
        return {
            "note": self.note,
            "tags": [*self.tags],
            "archived": self.archived,
            "deleted": self.deleted,
            "deleted_ms": self.deleted_ms,
        }

    def in_a_row(self) -> dict[str, Any]:
        """Return it as a list of runs has it; of its note the beginning of the first line."""
        note = self.note.strip().partition("\n")[0][:_MAX_NOTE_IN_A_ROW]
        return {"note": note, "tags": [*self.tags], "archived": self.archived, "deleted": self.deleted}


@dataclass(slots=True)
class Annotations:
    """What is said now, by all events; `num_malformed` counts lines that say nothing, such as torn ones."""

    run: Annotated = field(default_factory=Annotated)
    experiments: dict[int, Annotated] = field(default_factory=dict)
    num_events: int = 0
    num_malformed: int = 0

    def apply(self, change: Change, now_ms: int) -> bool:
        """Take in a change, and return whether it changes anything.

        Raises:
            MlgymError: one tag too many; nothing was changed.
        """
        at = change.experiment_id
        one = self.run if at is None else self.experiments.get(at) or Annotated()
        before = one.as_json()
        match change:
            case NoteSet():
                one.note = change.note
            case TagAdded() if change.tag not in one.tags:
                if len(one.tags) >= MAX_TAGS:
                    raise MlgymError(f"tag {change.tag!r}: there are {MAX_TAGS} tags already, which is the most")
                one.tags.append(change.tag)
            case TagRemoved() if change.tag in one.tags:
                one.tags.remove(change.tag)
            case Archived() | Unarchived():
                one.archived = isinstance(change, Archived)
            case Deleted() if one.deleted_ms is None:
                one.deleted_ms = now_ms
            case Restored():
                one.deleted_ms = None
        changed = one.as_json() != before
        if changed and at is not None:
            self.experiments[at] = one
        return changed


def project_annotations(lines: Iterable[bytes]) -> Annotations:
    """Return what the lines of an annotations log say; what cannot be read, and unknown events, are passed over."""
    found = Annotations()
    for line in filter(None, lines):
        try:
            event = decode(readable(line))
            kind, payload = _KINDS.get(event["event_type"]), event["payload"]
            if kind is not None:
                fields = {name: payload[name] for name in kind.__struct_fields__ if name in payload}
                found.apply(checked(msgspec.convert(fields, kind)), int(event["creation_ts"]))
            found.num_events += 1
        except (ValueError, LookupError, TypeError, MlgymError):
            found.num_malformed += 1
    return found


def event_of(run_id: str, change: Change, *, by: str | None, now_ms: int) -> Event:
    """Return the event that says a change."""
    said = {name: getattr(change, name) for name in change.__struct_fields__}
    payload = {"grid_search_id": run_id, "by": by, **said}
    return {"event_type": change.__struct_config__.tag, "creation_ts": now_ms, "payload": payload}


def change_of(value: Any) -> Change:
    """Read a change from JSON: `{"event_type": "tag_added", "tag": "good"}`, of an experiment with its `experiment_id`.

    Raises:
        MlgymError: it is none; what is wrong is said.
    """
    if not isinstance(value, Mapping):
        raise MlgymError(f'a change is an object such as {{"event_type": "archived"}}, found {described(value, 60)}')
    kind = value.get("event_type")
    if not isinstance(kind, str) or kind not in _KINDS:
        found = "none" if kind is None else described(kind, 60)
        raise MlgymError(f"event_type: found {found}{nearest(kind, CHANGES)} Allowed: {', '.join(CHANGES)}")
    try:
        return checked(msgspec.convert(dict(value), _KINDS[kind]))
    except msgspec.ValidationError as error:
        names = listed(_KINDS[kind].__struct_fields__)
        raise MlgymError(f"{kind}: {str(error)[:200]}. Its fields: event_type, {names}") from error


def checked(change: Change) -> Change:
    """Return a change that says something that can be kept.

    Raises:
        MlgymError: a note or a tag that is too long or no text, or no experiment's id.
    """
    at = change.experiment_id
    if at is not None and not 0 <= at <= MAX_EXPERIMENT:
        raise MlgymError(f"experiment_id: found {at}; it is a number from 0")
    if isinstance(change, NoteSet):
        _check_note(change.note)
    elif isinstance(change, TagAdded):
        check_tag(change.tag)
    return change


def _check_note(note: str) -> None:
    size = len(note.encode("utf-8", "surrogatepass"))
    if size > MAX_NOTE_BYTES:
        raise MlgymError(f"note: it has {size:,} bytes; {MAX_NOTE_BYTES:,} are the most. Keep the rest in a file")
    odd = _NOT_IN_A_NOTE.search(note)
    if odd:
        raise MlgymError(f"note: it holds the control character {odd[0]!r}; a note is text, with tabs and newlines")


def check_tag(tag: str) -> None:
    """Refuse what is no tag.

    Raises:
        MlgymError: see there.
    """
    if not re.fullmatch(rf"[^\s,]{{1,{MAX_TAG_LENGTH}}}", tag) or not tag.isprintable():
        raise MlgymError(
            f"tag {described(tag, 80)}: a tag has 1 to {MAX_TAG_LENGTH} characters, no blanks, commas or control "
            "characters; write baseline, or lr-sweep"
        )


def checked_name(by: object) -> str | None:
    """Return who says it: a name, or None.

    Raises:
        MlgymError: it is no name.
    """
    if by is None:
        return None
    if not isinstance(by, str) or not by.strip() or len(by) > MAX_NAME_LENGTH or not by.isprintable():
        raise MlgymError(f"by: found {described(by, 80)}; a name has 1 to {MAX_NAME_LENGTH} printable characters")
    return by
