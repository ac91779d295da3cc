"""The pure core: state, program, epoch, scoring, and what a model, a loss and a metric are to them.

A model has its pure form (`model`, `modules`), its inputs and outputs as trees, the flags that tell it whether it
trains (`modes`) and paths to its parameters; a loss has weights; whether a step computes examples one by one is proven.

JAX, Flax and Optax only: no I/O, no clock, no logging, and nothing that knows of runs, configs' files or devices. What
is registered, such as a loss or a metric, is in the room of its kind.
"""
