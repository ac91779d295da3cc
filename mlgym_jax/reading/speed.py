"""How fast a run trained, in a line for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def speed_in_words(speeds: Sequence[Mapping[str, Any]]) -> str:
    """Say what the `group_trained` payloads of a run come to together; "" where there is none.

    Rates are of the time in which groups trained; utilisation is the mean over that time, of all or not at all.
    """
    seconds = sum(float(one["seconds"]) for one in speeds)
    if not seconds:
        return ""
    words = [f"trained at {sum(one['num_examples'] for one in speeds) / seconds:,.0f} examples/s"]
    tokens = [one["tokens_per_second"] for one in speeds]
    if None not in tokens:
        rate = sum(float(rate) * float(one["seconds"]) for rate, one in zip(tokens, speeds, strict=True)) / seconds
        words.append(f"{rate:,.0f} tokens/s")
    shares = [one["utilisation"] for one in speeds]
    if None not in shares:
        share = sum(float(share) * float(one["seconds"]) for share, one in zip(shares, speeds, strict=True)) / seconds
        words.append(f"{100 * share:.2g} % of what the hardware can compute")
    return ", ".join(words)
