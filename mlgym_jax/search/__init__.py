"""What to train: sweeps expanded to experiments, experiments gathered into groups, who stops, who is selected.

Pure functions of a config and of recorded scores: nothing here trains, reads a file or imports a model.
"""
