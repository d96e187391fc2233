"""What a client is told about authorisation: challenges (RFC 6750, RFC 9728) and the resource's own metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.events import JSON, UnauthenticatedError

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def challenge(
    error: BaseException | None = None, *, scope: str = "", resource: str = "", presented: bool = False
) -> str:
    """The value of `WWW-Authenticate` for a 401 or 403.

    Args:
        error: `UnauthenticatedError` when the caller was not accepted; anything else means that it only lacks scopes.
        scope: all scopes that are needed, separated by blanks, so that the client can ask for all of them at once.
        resource: URL of the endpoint; the metadata document's address is derived from it.
        presented: whether a credential was sent; without one, no error is named (RFC 6750 §3.1).
    """
    parts = []
    if resource:
        parts.append(f'resource_metadata="{_metadata_url(resource)}"')
    if isinstance(error, UnauthenticatedError):
        if presented:
            parts.append('error="invalid_token"')
    elif scope:
        parts.append('error="insufficient_scope"')
    if scope:
        parts.append(f'scope="{_quoted(scope)}"')
    return "Bearer " + ", ".join(parts) if parts else "Bearer"


def metadata(resource: str, scopes: Iterable[str], issuers: Sequence[str] = ()) -> JSON:
    """The protected resource metadata document (RFC 9728 §2) of one endpoint.

    Args:
        resource: its URL.
        scopes: all that its tools need.
        issuers: authorization servers whose tokens are accepted; empty where there are only keys.
    """
    return {
        "resource": resource,
        **({"authorization_servers": list(issuers)} if issuers else {}),
        "resource_name": "MCP Workbench",
        "bearer_methods_supported": ["header"],
        "scopes_supported": sorted(scopes),
    }


def _metadata_url(resource: str) -> str:
    scheme, _, rest = resource.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{_quoted(host)}{WELL_KNOWN}/{_quoted(path)}"


def _quoted(text: str) -> str:
    return "".join(c for c in text if " " <= c <= "~" and c not in '"\\')
