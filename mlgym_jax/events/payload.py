"""What the payloads of all events have in common."""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec
from msgspec.structs import asdict, fields

from mlgym_jax.events.codec import Event

Number = float | str  # NaN and infinities are words on the wire


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    """What every event says: `grid_search_id` is the run's id."""

    grid_search_id: str

    @classmethod
    def event(cls, grid_search_id: str, *, now_ms: int, **told: Any) -> Event:
        """Build the event of this type, of what its struct has; TypeError for a field that it has not, or lacks."""
        return cls(grid_search_id, **told).at(now_ms)

    def at(self, now_ms: int) -> Event:
        """Return the event that says this, at that time."""
        payload = asdict(self)
        event_type, may_lack = _written(type(self))
        for name in may_lack:
            if payload[name] is msgspec.UNSET:
                del payload[name]
        return {"event_type": event_type, "creation_ts": now_ms, "payload": payload}


def type_name(kind: type[Payload]) -> str:
    """Return the name that a payload's type has on the wire."""
    return re.sub(r"\B([A-Z])", r"_\1", kind.__name__).lower()


@functools.cache
def _written(kind: type[Payload]) -> tuple[str, list[str]]:
    """Return a type's name, and the fields that are left out where they are not given."""
    return type_name(kind), [field.name for field in fields(kind) if field.default is msgspec.UNSET]
