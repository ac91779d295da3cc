"""Registered metrics, one family a file; what a metric is, `Metric`, is in `core.metric`."""
