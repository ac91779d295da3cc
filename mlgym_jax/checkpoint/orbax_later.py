"""Orbax, imported where it is first used: it takes as long as a small study, which meanwhile is traced and compiled."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import orbax.checkpoint as ocp
else:

    class _Later:
        def __getattr__(self, name: str) -> Any:
            import orbax.checkpoint

            return getattr(orbax.checkpoint, name)

    ocp = _Later()

__all__ = ["import_in_background", "manager_of", "ocp", "wait_for_import"]

# Orbax looks at the clock that anybody may set: no write is given up, however late it seems.
_PATIENCE_SECONDS = 10**9


def import_in_background() -> None:
    """Begin to import it; who uses it meanwhile waits until that is done."""
    threading.Thread(target=lambda: ocp.CheckpointManager, name="import of orbax", daemon=True).start()


def wait_for_import() -> None:
    """Return when it is imported."""
    _ = ocp.CheckpointManager


def manager_of(folder: str) -> ocp.CheckpointManager:
    """Return what writes a store's steps in the background."""
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=True,
        async_options=ocp.AsyncOptions(timeout_secs=_PATIENCE_SECONDS),
        cleanup_tmp_directories=True,
    )
    # A file an array: arrays are few and large (`checkpoint.packed`). OCDBT would write the smallest of them twice.
    arrays = {name: ocp.StandardCheckpointHandler(use_ocdbt=False) for name in ("state", "kept")}
    return ocp.CheckpointManager(folder, options=options, item_handlers={**arrays, "meta": ocp.JsonCheckpointHandler()})
