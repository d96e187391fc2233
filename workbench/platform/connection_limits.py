"""How many connections there are, in all and of each address."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.access.client_address import ClientAddresses
from workbench.config import Settings


class ConnectionCounts:
    """Counts what all listeners of one process hold.

    A connection counts under its own address. One from a trusted proxy carries requests of many: those count instead,
    each under the address that the proxy states, while they are under way.

    Args:
        most: connections in all.
        per_address: connections of one address, or requests that come through trusted proxies from it.
        addresses: which proxies are trusted.
    """

    def __init__(self, most: int, per_address: int, addresses: ClientAddresses) -> None:
        self.most = most
        self.per_address = per_address
        self.addresses = addresses
        self.total = 0
        self.refused = 0
        self._held: dict[str, int] = {}

    @classmethod
    def of(cls, settings: Settings) -> ConnectionCounts:
        """As the settings say."""
        return cls(settings.connections, settings.connections_per_address, ClientAddresses(settings.trusted_proxies))

    def connect(self, peer: str) -> str | None:
        """Count a connection; what to give to `release`, or None when there are too many."""
        if self.total >= self.most:
            self.refused += 1
            return None
        held = "" if self.addresses.is_trusted(peer) else self.addresses.stated(peer, ())
        if held and not self._take(held):
            return None
        self.total += 1
        return held

    def disconnect(self, held: str) -> None:
        """A connection that was counted is gone."""
        self.total -= 1
        self.release(held)

    def request(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Count a request; what to give to `release` (nothing unless a proxy stated an address), None for too many."""
        if not self.addresses.is_trusted(peer):
            return ""
        address = self.addresses.stated(peer, headers)
        return address if self._take(address) else None

    def release(self, held: str) -> None:
        """What was counted under this address is over."""
        if held:
            left = self._held.get(held, 0) - 1
            if left > 0:
                self._held[held] = left
            else:
                self._held.pop(held, None)

    def _take(self, address: str) -> bool:
        now = self._held.get(address, 0)
        if now >= self.per_address:
            self.refused += 1
            return False
        self._held[address] = now + 1
        return True
