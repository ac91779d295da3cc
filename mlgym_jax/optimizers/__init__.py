"""Registered optimizers, schedules and averages of parameters; and what reads Optax's functions into the registry.

What is Optax's own is reached by its name and not written again here.
"""
