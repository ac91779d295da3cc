"""Checkpoints: which epochs are kept (`policies`, pure), how they are written and read, warm starts, other formats.

Only `store` knows Orbax. When one is written is decided in `recording`.
"""
