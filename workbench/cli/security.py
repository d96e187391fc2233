"""What `workbench doctor --security` looks at: the questions that a security reviewer would ask first.

Looks at this machine's configuration and state folder, and at the running platform where there is one. Names of
secrets are said, their values never.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from workbench.config import Settings, names
from workbench.events import Record, WorkbenchError, now_us

if TYPE_CHECKING:
    from workbench.registry.server import ServerSpec
    from workbench.secrets import SecretOrigin

Verdict = Literal["ok", "warning", "problem"]

_SECRET_FILES = ("token", "run.json", "control.db", "*.key", "*.ring", "*.pem", "access/*", "oauth/*", "audit/*.key*")
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")


class SecurityCheck(Record, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    finding: str
    hint: str = ""


def examine_security(settings: Settings) -> Iterator[SecurityCheck]:
    """All checks, from the door inwards. A check that breaks is a problem: what cannot be seen is not safe."""
    for look in (
        _authentication, _address, _tls, _origins, _files, _database, _keys, _issuers, _policy, _limits, _approvals,
        _redaction, _record, _witness, _servers, _quarantine, _secrets,
    ):  # fmt: skip
        try:
            yield from look(settings)
        except WorkbenchError as e:
            name = look.__name__.strip("_").replace("_", " ")
            yield SecurityCheck(name=name, verdict="problem", finding=str(e.args[0]), hint=e.hint)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _authentication(settings: Settings) -> Iterator[SecurityCheck]:
    if settings.authentication:
        yield SecurityCheck(name="authentication", verdict="ok", finding="every caller needs a credential")
    else:
        yield SecurityCheck(
            name="authentication",
            verdict="warning",
            finding="off: whoever reaches the port is the owner",
            hint="Set authentication = true. Off is accepted on loopback alone.",
        )


def _address(settings: Settings) -> Iterator[SecurityCheck]:
    if _loopback(settings.host):
        yield SecurityCheck(name="address", verdict="ok", finding=f"bound to {settings.host}, this machine alone")
    elif settings.public_url.startswith("https://"):
        yield SecurityCheck(
            name="address", verdict="ok", finding=f"bound to {settings.host}, known as {settings.public_url}"
        )
    else:
        yield SecurityCheck(
            name="address",
            verdict="problem",
            finding=f"bound to {settings.host} without TLS: tokens travel in clear",
            hint="Put a proxy with TLS in front and set public_url to its https address, or bind to 127.0.0.1.",
        )


def _tls(settings: Settings) -> Iterator[SecurityCheck]:
    if not settings.tls_port:
        return
    import asyncio

    from workbench.access.peer_certificates import mutual
    from workbench.serve.tls_front import open_tls

    tls = asyncio.run(open_tls(settings))
    try:
        ours = tls.identity.now().spiffe_id or "no X.509-SVID"
    finally:
        tls.identity.close()
    where = f"{settings.tls_host}:{settings.tls_port}, our certificate is {ours}"
    if mutual(settings):
        finding = f"listens on {where}; clients need an X.509-SVID, and a client that is made for it"
    else:
        finding = f"listens on {where}; clients need a key or a token"
    yield SecurityCheck(name="TLS", verdict="ok", finding=finding)


def _origins(settings: Settings) -> Iterator[SecurityCheck]:
    wide = [v for v in (*settings.allowed_hosts, *settings.allowed_origins) if "*" in v or v == "null"]
    if wide:
        hint = "Name each host and origin; a wildcard undoes the protection against DNS rebinding."
        yield SecurityCheck(name="origins", verdict="problem", finding=f"{', '.join(wide)} lets any page in", hint=hint)
        return
    named = ", ".join((*settings.allowed_hosts, *settings.allowed_origins)) or "none besides our own"
    yield SecurityCheck(name="origins", verdict="ok", finding=f"hosts and origins accepted: {named}")


def _files(settings: Settings) -> Iterator[SecurityCheck]:
    home = settings.home
    if not home.is_dir():
        yield SecurityCheck(
            name="files", verdict="ok", finding=f"{home} does not exist yet; it is made for its owner alone"
        )
        return
    looked = {home, *(p for pattern in _SECRET_FILES for p in home.glob(pattern) if p.is_file())}
    open_ = sorted(p for p in looked if p.stat().st_mode & 0o077)
    foreign = sorted(p for p in looked if p.stat().st_uid != os.getuid()) if hasattr(os, "getuid") else []
    if open_:
        names = ", ".join(f"{_inside(p, home)} ({p.stat().st_mode & 0o777:o})" for p in open_)
        fix = f"chmod go-rwx {' '.join(map(str, open_))}"
        yield SecurityCheck(name="files", verdict="problem", finding=f"others may read {names}", hint=fix)
    elif foreign:
        names = ", ".join(_inside(p, home) for p in foreign)
        yield SecurityCheck(
            name="files", verdict="warning", finding=f"{names} belong to another user", hint="chown them."
        )
    else:
        yield SecurityCheck(
            name="files", verdict="ok", finding=f"state folder and {len(looked) - 1} secret files: owner alone"
        )


def _inside(path: Path, home: Path) -> str:
    return "the state folder" if path == home else str(path.relative_to(home))


def _database(settings: Settings) -> Iterator[SecurityCheck]:
    from workbench.control import open_store

    if not settings.database_url:
        return
    store = open_store(settings)
    try:
        where, safe = store.where, store.safe_transport
    finally:
        store.close()
    finding = f"{where}: holds keys as hashes, and the keys that sessions and tokens are sealed with"
    if safe:
        yield SecurityCheck(name="control database", verdict="ok", finding=finding)
    else:
        hint = "Add sslmode=verify-full&sslrootcert=… to database_url."
        finding += "; the connection does not prove who answers, or is not encrypted"
        yield SecurityCheck(name="control database", verdict="warning", finding=finding, hint=hint)


def _keys(settings: Settings) -> Iterator[SecurityCheck]:
    from workbench.access import Access

    access = Access(settings)
    try:
        keys, now = access.keys(), now_us()
        problem = access.problem
    finally:
        access.close()
    if problem:
        yield SecurityCheck(
            name="roles", verdict="problem", finding=problem, hint="Mend the file; the roles before it hold."
        )
    usable = [k for k in keys if k.usable(now)]
    endless = [k for k in usable if k.expires_us is None]
    wide = [k for k in usable if "owner" in k.roles]
    finding = (
        f"{len(usable)} usable, {len(keys) - len(usable)} revoked or expired; {len(wide)} with role owner, "
        f"{len(endless)} that never expire"
    )
    local = [k for k in endless if "owner" in k.roles]
    if len(endless) > len(local) or len(wide) > 1:
        hint = "`workbench access keys` lists them; make keys with --days and the smallest role, and revoke the others."
        yield SecurityCheck(name="keys", verdict="warning", finding=finding, hint=hint)
    else:
        yield SecurityCheck(name="keys", verdict="ok", finding=finding)


def _issuers(settings: Settings) -> Iterator[SecurityCheck]:
    insecure = [i for i in settings.oauth_issuers if not i.startswith("https://") and not _loopback(_host(i))]
    weak = [a for a in settings.oauth_algorithms if a.lower() == "none" or a.startswith("HS")]
    if insecure or weak:
        finding = f"accepted without TLS or with a weak signature: {', '.join((*insecure, *weak))}"
        hint = "Issuers need https; signatures need a public key."
        yield SecurityCheck(name="token issuers", verdict="problem", finding=finding, hint=hint)
        return
    named = ", ".join(settings.oauth_issuers) or "none; keys of this workbench only"
    yield SecurityCheck(name="token issuers", verdict="ok", finding=named)
    if settings.oauth_server and not _loopback(settings.host):
        finding = "the authorization server for local use is on, beyond this machine"
        hint = "Use an identity provider and switch oauth_server off."
        yield SecurityCheck(name="authorization server", verdict="warning", finding=finding, hint=hint)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _policy(settings: Settings) -> Iterator[SecurityCheck]:
    import asyncio

    from workbench.policy import Policy

    policy = Policy(settings)
    try:
        problem, revision, shipped = asyncio.run(policy.probe()), policy.revision, settings.policy is None
        engine = policy.engine
    finally:
        policy.close()
    if problem:
        yield SecurityCheck(
            name="policy", verdict="problem", finding=problem, hint="Calls that cannot be decided are denied."
        )
        return
    where = "shipped rules" if shipped else f"rules in {settings.policy}"
    yield SecurityCheck(
        name="policy",
        verdict="ok",
        finding=f"{where}, revision {revision}, decided by {engine.description}, deny by default",
    )
    if engine.url.startswith("http://") and not _loopback(_host(engine.url)):
        finding = f"decisions of {engine.description} travel without TLS"
        hint = "Give the policy engine an https address."
        yield SecurityCheck(name="policy", verdict="problem", finding=finding, hint=hint)


def _limits(settings: Settings) -> Iterator[SecurityCheck]:
    where = "in Redis for all processes" if settings.redis_url else "in the memory of each process"
    finding = f"{settings.rate_per_minute} calls a minute and caller, counted {where}"
    if settings.redis_url and settings.redis_down == "memory":
        hint = 'Set redis_down = "deny" where the limit must hold even then.'
        finding += "; without Redis each process counts alone"
        yield SecurityCheck(name="rate limits", verdict="warning", finding=finding, hint=hint)
    elif settings.redis_url.startswith("redis://") and not _loopback(_host(settings.redis_url)):
        hint = "Use rediss://, or keep Redis on a network of its own."
        yield SecurityCheck(name="rate limits", verdict="warning", finding=f"{finding}, without TLS", hint=hint)
    else:
        yield SecurityCheck(name="rate limits", verdict="ok", finding=finding)


def _approvals(settings: Settings) -> Iterator[SecurityCheck]:
    where = "the app, the command line" + (" and Slack" if settings.slack_channel else "")
    finding = f"destructive tools wait for a human at {where}; nobody but the owner approves their own call"
    if settings.slack_channel:
        from workbench.policy.approvals.slack import SECRET, TOKEN

        missing = [name for name in (TOKEN, SECRET) if not os.environ.get(name)]
        if missing or settings.slack_approvers is None:
            lacking = ", ".join([*missing, *(["slack_approvers"] if settings.slack_approvers is None else [])])
            finding = f"Slack is configured without {lacking}, so the platform does not start"
            yield SecurityCheck(name="approvals", verdict="problem", finding=finding, hint="See docs/policy.md, Slack.")
            return
    yield SecurityCheck(name="approvals", verdict="ok", finding=finding)


def _redaction(settings: Settings) -> Iterator[SecurityCheck]:
    from workbench.policy.redaction import recognizers

    found = recognizers.shared()
    found.warm().join(60)
    if not found.ready:
        why = found.problem or "the recognisers do not load within a minute"
        hint = "Until they load, suspicious text is withheld whole."
        yield SecurityCheck(name="redaction", verdict="problem", finding=why, hint=hint)
        return
    kinds = ", ".join(recognizers.TYPES.values())
    finding = f"recognises {kinds}; the record is always redacted, results for callers without pii:read"
    yield SecurityCheck(name="redaction", verdict="ok", finding=finding)


def _record(settings: Settings) -> Iterator[SecurityCheck]:
    from workbench.audit import verify

    if settings.audit_mode == "async":
        hint = "Set audit_mode to os, fsync or strict."
        finding = "mode async: an answer may leave before its record is written"
        yield SecurityCheck(name="record", verdict="warning", finding=finding, hint=hint)
    else:
        yield SecurityCheck(
            name="record", verdict="ok", finding=f"mode {settings.audit_mode}: no answer without its record"
        )
    found = verify(settings.home)
    if not found.ok:
        hint = "Keep a copy of the folder, then `workbench audit verify --deep`."
        yield SecurityCheck(name="proof", verdict="problem", finding=str(found), hint=hint)
    else:
        signed = f"{found.signed} of {found.seals} seals signed" if found.seals else "nothing sealed yet"
        yield SecurityCheck(name="proof", verdict="ok", finding=f"the chains verify; {signed}")


def _witness(settings: Settings) -> Iterator[SecurityCheck]:
    if settings.audit_witness:
        shown = re.sub(r"(?<=://)[^/@\s]*@", "***@", settings.audit_witness)
        yield SecurityCheck(name="witness", verdict="ok", finding=f"signed checkpoints go to {shown}")
        return
    yield SecurityCheck(
        name="witness",
        verdict="warning",
        finding="none: whoever owns this account could rewrite the whole record, signatures included",
        hint="Set audit_witness to a folder on another disk or to a witness.",
    )


def _servers(settings: Settings) -> Iterator[SecurityCheck]:
    from workbench.registry import foreign_servers
    from workbench.registry.definitions.definition_pins import DefinitionPins

    foreign: list[ServerSpec] = list(foreign_servers(settings).servers)
    if settings.database_url or (settings.home / "control.db").exists():
        pins = DefinitionPins(settings)
        try:
            foreign = [*foreign, *pins.registered()]
        finally:
            pins.close()
    if not foreign:
        yield SecurityCheck(name="foreign servers", verdict="ok", finding="none; only bundled servers run")
    for spec in foreign:
        reached = "runs a command of this user" if spec.command else f"is reached at {_host(spec.url)}"
        finding = f"{spec.id} ({spec.trust}, from {spec.source}) {reached}; its own scope labels do not count"
        clear = spec.url.startswith("http://") and not _loopback(_host(spec.url))
        finding += f"; {_shown(spec)}"
        hint = "Use https: whoever is on the way reads and changes what it says." if clear else ""
        yield SecurityCheck(name="foreign server", verdict="warning" if clear else "ok", finding=finding, hint=hint)


def _shown(spec: ServerSpec) -> str:
    """Who a server has to be, and what it gets to see of us, in words."""
    tls, who = spec.tls, ""
    if tls is not None:
        ours = "our X.509-SVID" if tls.workload_api or tls.cert else "no certificate of ours"
        who = f"it has to be {tls.spiffe_id or 'certified by ' + tls.ca} and sees {ours}; "
    return who + _credential(spec)


def _credential(spec: ServerSpec) -> str:
    auth = spec.auth
    if auth is None or auth.type == "secret":
        named = sorted(spec.headers) + ([auth.header] if auth is not None else [])
        return f"it is sent {', '.join(named)}" if named else "it is sent no credential"
    whose = "a token for each caller" if auth.type == "token_exchange" else "a token of the gateway's own"
    return (
        f"it is sent {whose} from {auth.issuer or 'the issuer that it names'} (client {auth.client_id}, {auth.proof})"
    )


def _quarantine(settings: Settings) -> Iterator[SecurityCheck]:
    from workbench.platform.run_file import find_running
    from workbench.registry.definitions.poisoning_signals import of_definition

    if find_running(settings.home) is None:
        yield SecurityCheck(name="tools", verdict="ok", finding="no platform runs, so no definitions are in force")
        return
    import workbench

    with workbench.open(home=settings.home, attach=True, source="cli") as wb:
        tools, held = list(wb.tools()), [each.tool for each in wb.changed_definitions()]
    signs = [t.qualified for t in tools if of_definition(t.definition)]
    noted = [f"{t.qualified} ({note.rstrip('.')})" for t in tools for note in t.notes]
    if held or signs or noted:
        named = {"quarantined": held, "with signs of poisoning": signs, "with notes": noted}
        parts = [f"{what}: {', '.join(which)}" for what, which in named.items() if which]
        hint = "`workbench servers changes` shows what differs; a sign is no proof, and its absence neither."
        yield SecurityCheck(name="tools", verdict="warning", finding="; ".join(parts), hint=hint)
    else:
        yield SecurityCheck(
            name="tools", verdict="ok", finding=f"{len(tools)} definitions as first seen, none quarantined"
        )


def secret_origins(settings: Settings) -> list[SecretOrigin]:
    """Where each secret comes from that environment, settings or mcp.json name; reads them, and tells no value."""
    from workbench.registry import foreign_servers
    from workbench.secrets import SecretResolver, is_reference

    texts = [value for value in os.environ.values() if value.startswith("secret:")]
    texts += [value for name in names() if isinstance(value := getattr(settings, name), str) and is_reference(value)]
    for spec in foreign_servers(settings).servers:
        texts += [v for v in (*spec.command, *spec.env.values(), *spec.headers.values()) if is_reference(v)]
        texts += spec.auth.secrets() if spec.auth is not None else ()
    return SecretResolver.of(settings).where(texts)


def _secrets(settings: Settings) -> Iterator[SecurityCheck]:
    for origin in secret_origins(settings):
        if origin.source:
            yield SecurityCheck(name="secret", verdict="ok", finding=f"{origin.reference} from {origin.source}")
        else:
            hint = "What needs it does not work until it can be had."
            yield SecurityCheck(
                name="secret", verdict="problem", finding=f"{origin.reference}: {origin.problem}", hint=hint
            )
    named = sorted(name for name in os.environ if _SECRET_NAME.search(name) and os.environ[name])
    urls = ("database_url", "redis_url", "cache_url", "opa_url", "public_url", "audit_witness")
    stored = [n for n in urls if "@" in getattr(settings, n) and settings.source_of(n).endswith(".toml")]
    if stored:
        hint = f"Give {', '.join(f'WORKBENCH_{n.upper()}' for n in stored)} in the environment instead."
        finding = f"{', '.join(stored)} holds a password in a file"
        yield SecurityCheck(name="secrets", verdict="warning", finding=finding, hint=hint)
        return
    finding = f"in the environment, by name: {', '.join(named) or 'none'}; none in settings files"
    yield SecurityCheck(name="secrets", verdict="ok", finding=finding)
