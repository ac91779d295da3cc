"""Runs as things that one manages: list them, say of them what one thinks, compare them, watch a folder of them.

What is read here are logs and `run.json`; what is written are annotations beside a run (`events.annotation_log`), and a
purge removes runs that were deleted.
"""
