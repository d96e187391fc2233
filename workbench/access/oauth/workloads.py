"""Programs that prove who they are by a JWT-SVID instead of a secret (RFC 7523 §2.2; SPIFFE JWT-SVID).

The keys to check it with come from the SPIFFE Workload API on this machine, where a SPIRE agent or another
implementation serves them.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from workbench.access.access_tokens import unverified_claims
from workbench.access.oauth.requests import OAuthRequestError
from workbench.events import MissingPackageError, UnauthenticatedError

if TYPE_CHECKING:
    from spiffe import JwtBundleSet

ASSERTION_TYPES = (
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
)
FRESH_S = 60.0
"""Seconds after which the keys are fetched anew; a key that was taken back is good no longer than that."""
FAILURE_PAUSE_S = 5.0
"""Least seconds between two attempts while the agent does not answer or a token names an unknown key."""
TIMEOUT_S = 3.0
MAX_TOKEN_LENGTH = 8192


class WorkloadAssertions:
    """Checks JWT-SVIDs.

    Args:
        socket: of the Workload API, such as `unix:///run/spire/agent.sock`.
        audiences: one of them has to stand in `aud`: our issuer, or the token endpoint.
        ticks: seconds that only grow.

    Raises:
        MisuseError: the package `spiffe` is not installed.
    """

    def __init__(self, socket: str, audiences: Collection[str], *, ticks: Callable[[], float] = time.monotonic) -> None:
        try:
            importlib.import_module("spiffe")  # now, because it takes a while: later everybody would wait
        except ImportError as e:
            raise MissingPackageError("spiffe", "spiffe") from e
        self._socket = socket
        self._audiences = set(audiences)
        self._ticks = ticks
        self._bundles: JwtBundleSet | None = None
        self._fetched = self._attempted = -FRESH_S
        self._fetching: asyncio.Task[None] | None = None

    async def identify(self, kind: str, assertion: str) -> str:
        """The SPIFFE ID that an assertion proves.

        Raises:
            ApprovalRefusedError: it proves none.
        """
        if kind not in ASSERTION_TYPES:
            raise OAuthRequestError("invalid_request", "That client_assertion_type is not supported.")
        if len(assertion) > MAX_TOKEN_LENGTH:
            raise _unproven()
        if self._ticks() - self._fetched >= FRESH_S:
            await self._refresh()
        found = self._proven(assertion)
        if found is None:
            await self._refresh()
            found = self._proven(assertion)
        if found is None:
            raise _unproven()
        return found

    def _proven(self, assertion: str) -> str | None:
        from spiffe import JwtSvid, SpiffeId
        from spiffe.errors import PySpiffeError

        if self._bundles is None or self._ticks() - self._fetched >= FRESH_S + FAILURE_PAUSE_S:
            return None
        try:
            claimed = SpiffeId(unverified_claims(assertion)["sub"])
            bundle = self._bundles.get_bundle_for_trust_domain(claimed.trust_domain)
            if bundle is None:
                return None
            return str(JwtSvid.parse_and_validate(assertion, bundle, self._audiences).spiffe_id)
        except (UnauthenticatedError, PySpiffeError, ValueError, TypeError, LookupError, AttributeError):
            return None  # whatever the library stumbles over is no proof

    async def _refresh(self) -> None:
        if self._fetching is None:
            if self._ticks() - self._attempted < FAILURE_PAUSE_S:
                return
            self._attempted = self._ticks()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        from spiffe.errors import PySpiffeError

        try:
            self._bundles = await asyncio.to_thread(_bundles, self._socket)
            self._fetched = self._ticks()
        except PySpiffeError:
            return
        finally:
            self._fetching = None


def _bundles(socket: str) -> JwtBundleSet:
    from spiffe import WorkloadApiClient

    with WorkloadApiClient(socket) as client:
        return client.fetch_jwt_bundles(timeout=TIMEOUT_S)


def _unproven() -> OAuthRequestError:
    return OAuthRequestError("invalid_client", "The assertion does not prove who the client is.", 401)
