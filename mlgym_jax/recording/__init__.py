"""The edge, where all effects of a run happen: launching and resuming, events, checkpoints, model cards.

What can be decided without an effect is decided before it is here: `study` finds what is wrong, `execution` trains.
"""
