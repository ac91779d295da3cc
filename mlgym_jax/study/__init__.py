"""From a config to jobs that are ready to compile: everything that can be wrong is found here, before any effect.

Nothing of a run is written, and nothing trained but the few steps by which plans are measured (`tuning`).
"""
