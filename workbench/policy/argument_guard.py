"""Arguments that hardly ever mean well: a human is asked before such a call reaches a server of somebody else.

What an agent was talked into shows in what it asks for: the file with the private key, the address at which a cloud
hands out credentials, a way out of a folder, a command where a host name belongs. Each kind is recognised by the form
of one whole value, so that texts *about* such things pass. The absence of an objection proves nothing.
(OWASP MCP Top 10, MCP05 "Command Injection" and MCP06 "Intent Flow Subversion"; CWE-22, CWE-78, CWE-918.)
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from workbench.events import JSON, Call, Decision
from workbench.scanning import OverBudgetError, ScanBudget

MAX_VALUES: Final = 20_000
"""Values of one call that are looked at."""
MAX_VALUE_LENGTH: Final = 2_048
"""Characters of a value that can still be a path, an address or a command; longer ones are texts."""
MAX_INLINE_BYTES: Final = 16 << 10
"""Bytes of arguments that are looked at where nobody else can run meanwhile; the worst of them take 10 ms."""

_VALUES_AT_ONCE: Final = 128
"""Values after which others get their turn, where they are looked at aside."""

_NO_TEXTS: Final = frozenset((int, float, bool, type(None)))

_METADATA_NAMES: Final = frozenset(
    ("metadata.google.internal", "metadata.goog", "metadata.azure.internal", "instance-data.ec2.internal")
)
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
_NUMBER: Final = re.compile(r"0x[0-9a-f]{1,8}|0[0-7]{0,11}|[0-9]{1,10}")
_NUMBERED: Final = re.compile(r":|(?:^|\.)(?:0x[0-9a-f]+|[0-9]+)\Z")
"""What every address has: a colon, or a number after its last dot. The names of hosts have neither."""

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
_BARE_NAMES: Final = frozenset((".netrc", "_netrc", ".git-credentials", ".pypirc", ".pgpass", ".vault-token"))
"""What `_CREDENTIAL_FILE` finds without a folder before it."""
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
_LONGEST_DOWNLOAD: Final = len("invoke-restmethod")
_DOWNLOADS: Final = re.compile(rf"\b{_DOWNLOAD}", re.IGNORECASE)
_MAX_DOWNLOAD_LENGTH: Final = 500
"""Characters between the program that downloads and the pipe behind it."""
_SUBSTITUTED: Final = re.compile(rf"(?:\$\(|`|<\()\s{{0,9}}{_DOWNLOAD}", re.IGNORECASE)
_RUNS: Final = re.compile(
    r"\|\s{0,9}(?:sudo\s{1,9}(?:-[^\s|]{1,20}\s{1,9})*)?(?:/[^\s|]{0,40}/)?"
    r"(?:(?:ba|z|da|k|fi|a)?sh|python3?|perl|ruby|node|php|iex|invoke-expression)\b",
    re.IGNORECASE,
)
"""A pipe into an interpreter. It holds no second pipe, so a text of many pipes is read once and not once for each."""
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NAME_END: Final = 64
"""Last characters of a name that are read; each of the words that count is far shorter."""
_NAME_SHOWN: Final = 100


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
    if _NO_TEXTS.issuperset(map(type, arguments.values())):
        return ""
    budget = ScanBudget()
    for number, (name, value) in enumerate(_texts(arguments)):
        if number >= MAX_VALUES:
            break
        if number % _VALUES_AT_ONCE == _VALUES_AT_ONCE - 1:
            try:
                budget.step()
            except OverBudgetError:
                return f"{name[:_NAME_SHOWN]} and what follows take too long to be looked at"
        if 2 <= len(value) <= MAX_VALUE_LENGTH and (why := _objection(name, value)):
            return why
    return ""


def _texts(arguments: JSON) -> Iterator[tuple[str, str]]:
    """Every text with the name of the nearest argument around it, in order."""
    open_: list[Iterator[tuple[str, Any]]] = [iter(arguments.items())]
    while open_:
        for name, value in open_[-1]:
            if isinstance(value, str):
                yield name, value
            elif isinstance(value, dict):
                open_.append(iter(value.items()))
                break
            elif isinstance(value, (list, tuple)):
                open_.append(zip(itertools.repeat(name), value))
                break
        else:
            open_.pop()


def _objection(name: str, value: str) -> str:
    # What each kind cannot do without is looked for first: `in` costs a fraction of what a pattern does.
    last = _last_word(name[-_NAME_END:])
    name = name[:_NAME_SHOWN]
    if last in _PLACES and _SHELL.search(value.strip()):
        return f"{name} should be one {last}, and holds characters that a shell would run"
    if ("|" in value or "(" in value or "`" in value) and last not in _TEXTS and _runs_download(value):
        return f"{name} has a program downloaded and run"
    path = _path(value)
    if path and _CREDENTIAL_FILE.search(path):
        return f"{name} is a file in which systems keep credentials"
    if path and _CLIMBS_OUT.match(path):
        return f"{name} is a path that leads out of its folder, to one of the system"
    if "://" in value and (host := _host(value)) and _gives_credentials(host):
        return f"{name} is an address at which cloud providers hand out credentials"
    return ""


@lru_cache(4096)
def _last_word(name: str) -> str:
    words = _WORDS.findall(name)
    return words[-1].lower() if words else ""


def _runs_download(value: str) -> bool:
    """Whether what a program downloads is given to an interpreter, through a pipe or by substitution."""
    if not _DOWNLOADS.search(value):
        return False
    if _SUBSTITUTED.search(value):
        return True
    for pipe in _RUNS.finditer(value):
        end = pipe.start()
        start = max(end - _MAX_DOWNLOAD_LENGTH - _LONGEST_DOWNLOAD, 0)
        start = max(value.rfind("|", start, end) + 1, value.rfind("\n", start, end) + 1, start)
        if _DOWNLOADS.search(value, start, end):
            return True
    return False


def _path(value: str) -> str:
    """The value as a path; empty when it is none."""
    text = value.strip()
    if "/" not in text and "\\" not in text and "%" not in text:
        bare = text.replace("\0", "")
        return f"/{bare}" if bare.casefold() in _BARE_NAMES else ""
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
    if not _NUMBERED.search(host.partition("%")[0]):
        return False
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
