"""The shapes of what is sent and answered over HTTP, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from board_server.checkpoints import RESOURCES
from mlgym_jax.events import layout
from mlgym_jax.events.annotations import CHANGES, MAX_NAME_LENGTH, MAX_TAG_LENGTH

ID = {"type": "string", "pattern": f"^{layout.ID_PATTERN}$"}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
TEXT = {"type": "string"}
OBJECT: dict[str, Any] = {"type": "object"}
OBJECTS = {"type": "array", "items": OBJECT}
BYTES = {"type": "string", "format": "binary"}
EVENT = {
    "type": "object",
    "required": ["event_type", "creation_ts", "payload"],
    "properties": {"event_type": TEXT, "creation_ts": {"type": "integer"}, "payload": OBJECT},
}
PUBLISHED = {
    "type": "object",
    "required": ["event_id", "data"],
    "properties": {"event_id": {"type": "integer", "minimum": 0}, "data": EVENT},
}
CHECKPOINTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["experiment_id", "epoch", "checkpoints"],
        "properties": {
            "experiment_id": NUMBER,
            "epoch": NUMBER,
            "checkpoints": {"type": "array", "items": {"enum": list(RESOURCES)}},
        },
    },
}
RUNS = {"type": "array", "items": {"$ref": "#/components/schemas/run"}}
NULLABLE_NUMBER = {"type": ["number", "null"]}
NULLABLE_INTEGER = {"type": ["integer", "null"]}
NULLABLE_TEXT = {"type": ["string", "null"]}
TAGS = {"type": "array", "items": TEXT}
SAID = {"note": TEXT, "tags": TAGS, "archived": {"type": "boolean"}, "deleted": {"type": "boolean"}}
SCHEMAS: dict[str, Any] = {
    "run": {
        "type": "object",
        "required": ["grid_search_id", "status", *SAID],
        "properties": {
            "grid_search_id": TEXT,
            "name": NULLABLE_TEXT,
            "status": TEXT,
            "started_ms": NULLABLE_INTEGER,
            "num_experiments": NULLABLE_INTEGER,
            "published": {"type": "boolean"},
            "modified_ms": {"type": "integer"},
            "bytes": {"type": "integer"},
            **SAID,  # of the note the first line, at most 200 characters
            "summarised": {"type": "boolean", "description": "whether what follows is of the log as it is now"},
            "monitor": NULLABLE_TEXT,
            "mode": NULLABLE_TEXT,
            "best_score": NULLABLE_NUMBER,
            "best_experiment_id": NULLABLE_INTEGER,
            "best_epoch": NULLABLE_INTEGER,
            "progress": {**NULLABLE_NUMBER, "minimum": 0, "maximum": 1},
            "num_done": NULLABLE_INTEGER,
            "num_failed": NULLABLE_INTEGER,
            "seconds": NULLABLE_NUMBER,
            "sparkline": {"type": "array", "items": {"type": "number"}, "maxItems": 32},
            "owner": NULLABLE_TEXT,
            "num_launches": NULLABLE_INTEGER,
            "num_refits": NULLABLE_INTEGER,
            "warm_starts": {"type": "array", "items": TEXT},
        },
    },
    "said": {
        "type": "object",
        "required": [*SAID],
        "properties": {**SAID, "deleted_ms": NULLABLE_INTEGER},
    },
    "annotations": {
        "allOf": [{"$ref": "#/components/schemas/said"}],
        "required": ["grid_search_id", "experiments", "num_events"],
        "properties": {
            "grid_search_id": TEXT,
            "experiments": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/said"}},
            "num_events": {"type": "integer"},
            "num_malformed": {"type": "integer"},
            "events": {"type": "array", "items": OBJECT},
        },
    },
    "changes": {
        "type": "object",
        "required": ["changes"],
        "additionalProperties": False,
        "properties": {
            "by": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_NAME_LENGTH},
            "changes": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1_000,
                "items": {
                    "type": "object",
                    "required": ["event_type"],
                    "additionalProperties": False,
                    "properties": {
                        "event_type": {"enum": list(CHANGES)},
                        "experiment_id": {**NUMBER, "type": ["integer", "null"]},
                        "note": TEXT,
                        "tag": {"type": "string", "pattern": rf"^[^\s,]{{1,{MAX_TAG_LENGTH}}}$"},
                    },
                },
            },
        },
    },
}
