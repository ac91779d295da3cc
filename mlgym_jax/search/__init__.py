"""What to train: sweeps expanded to experiments, experiments gathered into groups."""
