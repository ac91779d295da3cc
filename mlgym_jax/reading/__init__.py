"""What one asks of a run afterwards: results, summaries, tables, and the terminal that shows one while it goes.

Everything here is a projection of the log and the checkpoints; nothing here writes into a run.
"""
