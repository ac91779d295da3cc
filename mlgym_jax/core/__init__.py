"""The pure core: state, program, epoch, scoring, and what a metric and a module are to them.

JAX, Flax and Optax only: no I/O, no clock, no logging, and nothing that knows of runs, configs' files or devices. What
is registered, such as a loss or a metric, is in the room of its kind.
"""
