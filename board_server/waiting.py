"""Connections that wait for their client: a bounded number, of one address and in all, holding a bounded memory."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator
from typing import Protocol

MAX_WAITING = 1_000  # who is let go may come again at once, which costs more than to keep it
MAX_OF_ONE_ADDRESS = 64
MAX_HELD_BYTES = 1 << 27


class Waiter(Protocol):
    """A connection.

    Attributes:
        address: whose it is, see `address_of`; is_known: whether it has shown a token.
    """

    address: str
    is_known: bool

    def let_go(self) -> None:
        """End it at once."""


class Waiting:
    """What waits: for a request, for the rest of one, or for its answer to be taken.

    The longest waiting is let go where there are too many, or where they hold too much; those without a token first.
    """

    def __init__(self) -> None:
        self._held: dict[Waiter, list[int]] = {}  # the longest waiting first; bytes for each thing it waits for
        self._of_one: dict[str, int] = {}
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """How much is kept for all of them."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Waiter]:
        """Go over what waits now."""
        return iter(list(self._held))

    def begin(self, one: Waiter, num_bytes: int = 0) -> None:
        """Take note that a connection waits from now on, while so many bytes are kept for it."""
        held = self._held.pop(one, None)
        if held is None:
            held = []
            self._of_one[one.address] = self._of_one.get(one.address, 0) + 1
        held.append(num_bytes)
        self._held[one] = held
        self._num_bytes += num_bytes
        # Behind the address of this machine a proxy may stand, and all its clients.
        if self._of_one[one.address] > (MAX_OF_ONE_ADDRESS if one.address else MAX_WAITING):
            self._let_go(one.address)
        while len(self._held) > MAX_WAITING or self._num_bytes > MAX_HELD_BYTES:
            self._let_go()

    def end(self, one: Waiter, num_bytes: int = 0) -> None:
        """Take note that what a connection waited for has come; called with the bytes that `begin` was."""
        held = self._held.get(one)
        if held is None:
            return  # it was let go
        held.remove(num_bytes)
        self._num_bytes -= num_bytes
        if not held:
            self._forget(one)

    def make_room(self) -> bool:
        """Let the longest waiting go; return whether there was one."""
        if self._held:
            self._let_go()
            return True
        return False

    def _let_go(self, address: str | None = None) -> None:
        longest = next(
            (one for one in self._held if not one.is_known and address in (None, one.address)),
            None,
        ) or next(one for one in self._held if address in (None, one.address))
        self._forget(longest)
        longest.let_go()

    def _forget(self, one: Waiter) -> None:
        self._num_bytes -= sum(self._held.pop(one))
        self._of_one[one.address] -= 1
        if not self._of_one[one.address]:
            del self._of_one[one.address]


def address_of(peer: object) -> str:
    """Return by what the connections of one client are counted: its address, of IPv6 the network of 64 bits.

    Args:
        peer: what `socket.getpeername` says.
    """
    return _network(str(peer[0])) if isinstance(peer, tuple) and peer else ""


@functools.lru_cache(maxsize=1024)
def _network(host: str) -> str:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None:
        found = mapped
    if found.is_loopback:
        return ""
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
