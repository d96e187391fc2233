"""Arguments that hardly ever mean well: a human is asked before such a call reaches a server of somebody else.

What an agent was talked into shows in what it asks for: the file with the private key, the address at which a cloud
hands out credentials, a way out of a folder, a command where a host name belongs. Each kind is recognised by the form
of one whole value, so that texts *about* such things pass. The absence of an objection proves nothing.
(OWASP MCP Top 10, MCP05 "Command Injection" and MCP06 "Intent Flow Subversion"; CWE-22, CWE-78, CWE-918.)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
import orjson

from workbench.events import JSON, Call, Decision

MAX_VALUES: Final = 20_000
"""Values of one call that are looked at."""
MAX_VALUE_LENGTH: Final = 2_048
"""Characters of a value that can still be a path, an address or a command; longer ones are texts."""

_SIGNS: Final = (
    b"..", b'".', b"/.", b"\\.", b"~", b"/etc/", b"\\etc", b"/proc/", b"%2", b"://", b"curl", b"wget", b"iwr", b"irm",
    b"webrequest", b"restmethod", b"host", b"ip", b"port", b"fqdn",
)  # fmt: skip
"""Arguments without any of these hold nothing that is looked for."""

_METADATA_NAMES: Final = frozenset(
    ("metadata.google.internal", "metadata.goog", "metadata.azure.internal", "instance-data.ec2.internal")
)
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
_NUMBER: Final = re.compile(r"0x[0-9a-f]{1,8}|0[0-7]{0,11}|[0-9]{1,10}")

_CREDENTIAL_FILE: Final = re.compile(
    r"(?:^|[/\\])(?:"
    r"\.ssh[/\\](?:id_\w+|identity|[^/\\]+\.(?:pem|key))"
    r"|\.aws[/\\]credentials|\.gnupg[/\\](?:private-keys.*|secring\.gpg)|\.kube[/\\]config|\.docker[/\\]config\.json"
    r"|\.netrc|_netrc|\.git-credentials|\.pypirc|\.pgpass|\.vault-token"
    r"|\.config[/\\](?:gcloud[/\\](?:credentials\.db|application_default_credentials\.json)|gh[/\\]hosts\.yml)"
    r"|etc[/\\](?:g?shadow-?|sudoers|master\.passwd)|proc[/\\](?:self|\d+)[/\\]environ"
    r"|windows[/\\]system32[/\\]config[/\\](?:sam|system|security)"
    r")$",
    re.IGNORECASE,
)
_PATH_BEGINS: Final = re.compile(r"[~./\\%]|[A-Za-z]:[/\\]|file:")
_CLIMBS_OUT: Final = re.compile(
    r"(?:\.[/\\])*(?:[\w.-]+[/\\])?(?:\.\.[/\\]){2,}(?:etc|proc|sys|dev|root|boot|var|usr|windows|winnt|users|home)(?:[/\\]|$)",
    re.IGNORECASE,
)
_PLACES: Final = frozenset(("host", "hostname", "ip", "fqdn", "port"))
"""Last words of the names of arguments that take one name, address or number of the network, and nothing else."""
_SHELL: Final = re.compile(r"[;|`\n\r]|\$[({]|&&")
_TEXTS: Final = frozenset(
    (
        "content", "contents", "text", "body", "message", "description", "markdown", "html", "prompt", "question",
        "comment", "title", "note", "notes", "summary", "document", "readme", "diff", "patch", "thought", "string",
        "str",
    )
)  # fmt: skip
"""Last words of the names of arguments that hold writing, which may be about anything."""
_DOWNLOAD: Final = r"(?:curl|wget|fetch|iwr|irm|invoke-webrequest|invoke-restmethod)\b"
_PIPED: Final = re.compile(
    rf"\b{_DOWNLOAD}[^|\n]{{0,500}}\|\s{{0,9}}(?:sudo\s{{1,9}}(?:-\S{{1,20}}\s{{1,9}})*)?(?:/\S{{0,40}}/)?"
    rf"(?:(?:ba|z|da|k|fi|a)?sh|python3?|perl|ruby|node|php|iex|invoke-expression)\b"
    rf"|(?:\$\(|`|<\()\s{{0,9}}{_DOWNLOAD}",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def guarded(decision: Decision, call: Call) -> Decision:
    """`decision`, which allows the call; or that a human has to approve it first, because of its arguments."""
    why = argument_objection(call.arguments)
    if not why:
        return decision
    reason = f"The argument {why}; a human has to approve this very call of {call.tool} first."
    return msgspec.structs.replace(decision, allow=False, approval=True, rule="argument_guard", reason=reason)


def argument_objection(arguments: JSON) -> str:
    """Why a human should look at a call before it is made, as a part of a sentence; empty when nothing stands out.

    Args:
        arguments: plain JSON.
    """
    low = orjson.dumps(arguments).lower()
    if not any(sign in low for sign in _SIGNS):
        return ""
    for number, (name, value) in enumerate(_values(arguments, "")):
        if number >= MAX_VALUES:
            break
        if 2 <= len(value) <= MAX_VALUE_LENGTH and (why := _objection(name, value)):
            return why
    return ""


def _values(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Every text with the name of the nearest argument around it. Arguments are no deeper than the gateway reads."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, name)


def _objection(name: str, value: str) -> str:
    words = _WORDS.findall(name)
    last = words[-1].lower() if words else ""
    if last in _PLACES and _SHELL.search(value.strip()):
        return f"{name} should be one {last}, and holds characters that a shell would run"
    if last not in _TEXTS and _PIPED.search(value):
        return f"{name} has a program downloaded and run"
    path = _path(value)
    if path and _CREDENTIAL_FILE.search(path):
        return f"{name} is a file in which systems keep credentials"
    if path and _CLIMBS_OUT.match(path):
        return f"{name} is a path that leads out of its folder, to one of the system"
    if "://" in value and (host := _host(value)) and _gives_credentials(host):
        return f"{name} is an address at which cloud providers hand out credentials"
    return ""


def _path(value: str) -> str:
    """The value as a path; empty when it is none."""
    text = value.strip()
    if len(text) > 512 or "\n" in text or (" " in text and not _PATH_BEGINS.match(text)):
        return ""
    for _ in range(2):  # once for a server that decodes, and once for one that does so twice
        text = unquote(text)
    text = text.removeprefix("file://").replace("\0", "")
    return text if "/" in text or "\\" in text else f"/{text}"


def _host(value: str) -> str:
    text = value.strip()
    if any(blank in text for blank in " \n\t"):
        return ""
    try:
        return (urlsplit(text).hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _gives_credentials(host: str) -> bool:
    if host in _METADATA_NAMES:
        return True
    found = _address(host)
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    return found is not None and (found in _METADATA or (found.version == 4 and found.is_link_local))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, also in the forms that `inet_aton` takes: numbers, octal, hexadecimal."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [int(p, 16) if p.startswith("0x") else int(p, 8) if p[0] == "0" and len(p) > 1 else int(p) for p in parts]
    *first, rest = numbers
    if any(n > 255 for n in first) or rest >= 256 ** (5 - len(parts)):
        return None
    return ipaddress.IPv4Address(sum(n << (24 - 8 * at) for at, n in enumerate(first)) + rest)
