"""The edge, where all effects of a run happen: launching and resuming, events, checkpoints, model cards."""
