"""Components: what is registered under which name, what a config's names stand for, and building that.

The components themselves are in the room of their kind (`models`, `losses`, `metrics`, `optimizers`, `data`, …).
"""
