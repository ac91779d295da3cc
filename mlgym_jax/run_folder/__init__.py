"""A run's folder on disk, and what it records of where its numbers come from.

The log in it belongs to `events`, the checkpoints in it to `checkpoint`.
"""
