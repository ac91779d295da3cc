"""Registered losses: Optax's by their own names, and sums, weights and regularisers of losses.

A loss is `(outputs, batch) -> float[batch]`, unreduced; masks and means are taken in `core.scoring`.
"""
