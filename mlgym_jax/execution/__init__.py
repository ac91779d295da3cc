"""How a group runs on the devices: the choice of a plan, the batched programs, the engine, memory, compiled programs.

The engine is a generator of epoch reports; what they cause (events, checkpoints) happens in `recording`.
"""
