"""Registered losses: Optax's by their own names, and sums, weights and regularisers of losses."""
