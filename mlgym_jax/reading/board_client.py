"""Ask a board what its page asks, over the same REST: GET alone, answers in JSON."""

from __future__ import annotations

import http.client
import threading
from typing import Any
from urllib.parse import urlencode

from mlgym_jax.errors import MlgymError
from mlgym_jax.publishing.address import Address
from mlgym_jax.publishing.requests import Requests, refusal


class NotThere(MlgymError):
    """The board has no such thing."""


class BoardClient:
    """A client of one board, for any thread.

    Args:
        option: which option named the board, for errors.
    """

    def __init__(self, address: Address, option: str = "--board"):
        self.address = address
        self._named = f"{option}={address.url}"
        self._requests, self._lock = Requests(address), threading.Lock()

    def get(self, *words: object, **query: object) -> Any:
        """Return the answer at a path of these words.

        Raises:
            NotThere: there is no such thing. MlgymError: the board cannot be reached, or refuses.
        """
        given = {name: value for name, value in query.items() if value is not None}
        path = self.address.path(*words) + (f"?{urlencode(given, doseq=True)}" if given else "")
        try:
            with self._lock:
                answer = self._requests.send("GET", path)
        except (OSError, http.client.HTTPException) as error:
            raise MlgymError(f"{self._named}: the board cannot be reached: {error}") from error
        if answer.status == 200 and isinstance(answer.body, dict | list):
            return answer.body
        kind = NotThere if answer.status == 404 else MlgymError
        raise kind(f"{self._named}: {refusal(answer, self.address)}")

    def close(self) -> None:
        """End the connection."""
        self._requests.close()
