"""What to keep (`policies`, pure) and how it is written (`store`)."""
