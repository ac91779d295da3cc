"""How groups run on devices: the choice of a plan, the batched programs, the engine."""
