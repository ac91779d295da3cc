"""TFDS without its progress bars.

Wraps `_active` of `tensorflow_datasets.core.utils.tqdm_utils`, relied on since TFDS 4.9.9: bars can be turned off
in public, but not asked whether they were on, which is needed to leave a user's setting as it was.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Keep TFDS's output from the terminal, and its draws of folder names from the user's `random` state."""
    from tensorflow_datasets.core.utils import tqdm_utils

    active, random_state = tqdm_utils._active, random.getstate()
    tqdm_utils.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tqdm_utils.display_progress_bar(active)
        random.setstate(random_state)
