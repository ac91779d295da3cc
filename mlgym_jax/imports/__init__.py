"""Other trackers' logs as runs: TensorBoard's event files and CSV tables become an event log that all else reads.

`tensorboard_logs.py` and `csv_logs.py` find experiments and read them as columns (`columns.py`), `run_of.py` writes
them down as a run. Numbers stay what they are there; what is no score, or cannot be read, is left out and told.
What writes to other trackers is in `sinks/`. Nothing here needs jax.
"""
