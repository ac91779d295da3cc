"""A run's folder on disk, and what it records of where its numbers come from."""
