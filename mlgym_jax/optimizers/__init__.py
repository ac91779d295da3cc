"""Registered optimizers, schedules and averages of parameters; and what reads Optax's functions into the registry."""
