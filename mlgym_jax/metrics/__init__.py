"""Registered metrics, one family a file; what a metric is, `Metric`, is in `core.metric`.

Each equals scikit-learn's value, or the paper's definition, on the whole split. What only reads scores is in `search`.
"""
