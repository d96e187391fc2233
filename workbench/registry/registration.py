"""Servers that are registered by a caller while we run: what such a caller may say, and what is never accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from workbench.address_guard import check_url
from workbench.display_text import visible_excerpt
from workbench.events import MisuseError, digest
from workbench.registry.definitions.name_checks import header_objection
from workbench.registry.server import ServerSpec
from workbench.secrets import is_reference
from workbench.setting_values import port_ranges
from workbench.suggestions import close_names

KEYS = ("id", "url", "title", "description", "headers")
"""All that a registration may hold. Launch commands are read from configuration on disk and nowhere else."""


def registration(data: Any, *, tenant: str = "", prefixed: bool = False) -> ServerSpec:
    """The server that decoded JSON from a caller describes; to be given to `Registry.add`.

    Args:
        data: what the caller sent.
        tenant: for which alone the server shall exist; empty is the one that runs the platform.
        prefixed: whether its id has to begin with the tenant's name, so that tenants cannot come into each other's way.

    Raises:
        MisuseError: it is no object, lacks `id` or `url`, has a key or a value that is not expected, or an id of
            others.
    """
    if not isinstance(data, dict):
        raise MisuseError(f"A registration is an object, not {type(data).__name__}.", hint=f"Give {', '.join(KEYS)}.")
    for key in data:
        if key not in KEYS:
            close = close_names(str(key), KEYS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Expected {', '.join(KEYS)}."
            raise MisuseError(f"A registration has no key {key!r}.", hint=hint)
    for key in ("id", "url"):
        if not data.get(key):
            raise MisuseError(f"The registration lacks {key!r}.", hint="Give an id and the URL of an MCP endpoint.")
    spec = ServerSpec(kind="url", source="registered", tenant=tenant, **data)
    _check_types(spec)
    prefix = f"{re.sub('[^a-z0-9]+', '-', tenant.lower()).strip('-')[:24] or digest(tenant)[:8]}-"
    if prefixed and not spec.id.startswith(prefix):
        raise MisuseError(
            f"Server name {spec.id!r} is not one for tenant {tenant!r}.",
            hint=f"Here the names of its servers begin with {prefix!r}.",
        )
    return spec


def check_registration(spec: ServerSpec, *, local_allowed: bool, ports: Sequence[str] = ()) -> None:
    """Refuse what must not be registered, whoever asks. Whether the name is free is not looked at.

    Raises:
        MisuseError: it has a launch command, a URL that may not be called, or headers or texts that may not be used.
    """
    _check_types(spec)
    if spec.auth is not None or spec.tls is not None:
        raise MisuseError(
            f"Server {spec.id!r} asks for tokens or certificates of this gateway.",
            hint="Who registers a server sends its own credential; `auth` and `tls` are read from an mcp.json on disk.",
        )
    if spec.kind != "url" or spec.command or spec.env or spec.cwd or spec.stdio:
        raise MisuseError(
            f"Server {spec.id!r} has a launch command.",
            hint="Only a URL can be registered here; commands are read from an mcp.json on disk.",
        )
    check_url(spec.url, local_allowed=local_allowed, ports=port_ranges(ports))
    for name, value in spec.headers.items():
        if is_reference(value):
            raise MisuseError(
                f"Server {spec.id!r} cannot be registered: the header {name!r} names a secret of this machine.",
                hint="Who registers a server sends its own credential; secrets are named in an mcp.json on disk.",
            )
        if why := header_objection(name, value):
            raise MisuseError(f"Server {spec.id!r} cannot be registered: {why}.", hint="Mend or remove the header.")
    if spec.title != visible_excerpt(spec.title, 200) or spec.description != visible_excerpt(spec.description, 2_000):
        raise MisuseError(
            f"Title or description of server {spec.id!r} is too long or has hidden characters.",
            hint="Use plain text, at most 200 and 2000 characters.",
        )


def _check_types(spec: ServerSpec) -> None:
    try:
        msgspec.convert(msgspec.to_builtins(spec), ServerSpec)  # the constructor takes values of any type
    except (msgspec.ValidationError, TypeError) as e:
        raise MisuseError(f"The server cannot be registered: {e}.", hint="Give id, url, and headers as texts.") from e
