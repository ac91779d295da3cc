"""From a config to jobs that are ready to compile: everything that can be wrong is found here, before any effect."""
