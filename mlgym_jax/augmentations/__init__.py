"""Registered augmentations: random changes of training batches, `(key, batch) -> batch`, one family a file.

All that is drawn comes from the key, which is of the experiment's seed and the step alone; examples are changed each by
its own draw. Examples whose `mask` is False are padding, and nothing of them comes into another one.
"""
