"""TensorBoard's messages. protobuf makes these classes while they are imported, so no type checker knows them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

event: Any = import_module("tensorboard.compat.proto.event_pb2")
summary: Any = import_module("tensorboard.compat.proto.summary_pb2")
tensor: Any = import_module("tensorboard.compat.proto.tensor_pb2")
types: Any = import_module("tensorboard.compat.proto.types_pb2")
hparams: Any = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
hparams_api: Any = import_module("tensorboard.plugins.hparams.api_pb2")
