"""Runnable comparisons; not tests. Each prints ratios measured inside one run."""
