"""Registered losses: Optax's by their own names, and sums, weights and regularisers of losses.

A loss is `(outputs, batch) -> float[batch]`, unreduced, or a pair of them, (sums, weights); masks and means are taken
in `core.weighted`.
"""
