"""Publish a run to remote boards while it is written, or later, without ever holding up the training.

The run's own log is the outbox. For each board one thread tails it, sends what the board has not acknowledged and
reconnects for as long as the run goes on; another uploads the files beside the log and the kept checkpoints. A board's
copy of the log is the same, byte by byte (`outgoing.py` has the one exception).

Synopsis:

    boards = Boards.at(["http://127.0.0.1:8080"])
    with Publication(run_dir, boards) as publication:
        with EventLog.open(path, sinks=[publication]) as log:
            publication.begin(log.next_event_id)
            ...
"""

from mlgym_jax.publishing.address import Address, Boards
from mlgym_jax.publishing.publication import Publication

__all__ = ["Address", "Boards", "Publication"]
