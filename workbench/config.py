"""Settings: every value has one place, a one-line meaning, and knows where it came from.

Order, later wins: the default, `workbench.toml` in the working directory, `config.toml` in the state folder, the
environment (`WORKBENCH_<NAME>` in capitals), what the command line or the caller of `open()` gave.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from workbench.events import MisuseError
from workbench.provider_table import PROVIDERS, provider_names
from workbench.server_manifests import default_servers, selectable_servers
from workbench.setting_values import (
    BROWSER_ORIGIN,
    BYTES,
    COUNT,
    HOST,
    HOST_PORT,
    MAX_BYTES,
    MAX_SECONDS,
    NETWORK,
    PATH,
    PORTS,
    POSTGRES,
    REDIS,
    SECONDS,
    ListOf,
    MatchingText,
    NumberRange,
    NumbersByName,
    ValueCheck,
    converted,
    folder_or_url,
    line_of,
    one_of,
    origin_of,
    port_number,
    url_of,
)
from workbench.suggestions import close_names

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that nobody beyond this machine reaches."""

AuditMode = Literal["async", "os", "fsync", "strict"]
ToolNameStyle = Literal["model", "dotted"]
RedisDown = Literal["deny", "memory"]


def setting(default: Any, meaning: str, check: ValueCheck | None = None) -> Any:
    """A field of `Settings`: its default, the sentence that `workbench doctor` prints, and what it may be.

    Only switches and choices of a `Literal` need no check.
    """
    return field(default=default, metadata={"meaning": meaning, "check": check})


def secret(default: Any, meaning: str, check: ValueCheck) -> Any:
    """A field of `Settings` that may hold a password: it is in no text of the settings."""
    return field(default=default, repr=False, metadata={"meaning": meaning, "secret": True, "check": check})


def table(meaning: str, check: ValueCheck) -> Any:
    """A field of `Settings` that holds numbers by name; empty unless set. As text it is written `name=1,other=2`."""
    return field(default_factory=dict, hash=False, metadata={"meaning": meaning, "check": check})


class _BundledServer:
    """One of the servers that the setting `servers` may name: known once their manifests are read."""

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(selectable_servers())

    def accepts(self, value: Any) -> bool:
        return value in selectable_servers()


@dataclass(frozen=True)
class Settings:
    """All settings of one workbench. Build with `Settings.load()`; `source_of(name)` says where a value came from."""

    home: Path = setting(Path(".workbench"), "Folder of runtime state: log, lake, control database, keys.", PATH)
    url: str = setting(
        "",
        "Origin of a platform on another machine to use, with the token in WORKBENCH_TOKEN; empty: the local one.",
        url_of("http", "https", example="https://tools.example"),
    )
    host: str = setting("127.0.0.1", "Address the gateway binds to. Anything wider needs authentication on.", HOST)
    port: str = setting("8800", "Port of MCP endpoint and management API, or `auto` for a free one.", port_number())
    app_port: str = setting("8501", "Port of the Streamlit app, or `auto`.", port_number())
    app_host: str = setting(
        "127.0.0.1", "Address the app binds to: loopback, since the app has no login for people.", HOST
    )
    app_session_seconds: float = setting(
        43_200.0, "How long a browser stays signed in to the app, in seconds.", SECONDS
    )
    app: bool = setting(True, "Whether `workbench up` also starts the Streamlit app.")
    authentication: bool = setting(True, "Whether callers must present a token. Off is only accepted on loopback.")
    allowed_hosts: tuple[str, ...] = setting(
        (), "Further values of the Host header to accept, e.g. a public name.", ListOf(HOST_PORT)
    )
    allowed_origins: tuple[str, ...] = setting(
        (), "Origins of browsers to accept besides our own app.", ListOf(BROWSER_ORIGIN)
    )
    public_url: str = setting(
        "", "URL by which clients know the gateway behind a proxy, e.g. https://tools.example.", origin_of()
    )
    oauth_issuers: tuple[str, ...] = setting(
        (), "Issuers whose access tokens are accepted. Empty: keys only.", ListOf(url_of("https", "http"))
    )
    oauth_audiences: tuple[str, ...] = setting(
        (), "Audiences to accept instead of the URLs of the gateway's endpoints.", ListOf(line_of())
    )
    oauth_algorithms: tuple[str, ...] = setting(
        ("ES256", "ES384", "RS256", "PS256", "Ed25519", "EdDSA"),
        "Signature algorithms that are accepted on tokens.",
        ListOf(line_of(), least=1),
    )
    oauth_token_types: tuple[str, ...] = setting(
        ("at+jwt",),
        "Values of `typ` accepted on tokens. Add JWT for issuers that know no at+jwt.",
        ListOf(line_of(), least=1),
    )
    oauth_actors: tuple[str, ...] = setting(
        (),
        "Subjects that may act for others with a token (claim `act`, RFC 8693). Empty: any that the issuer allows.",
        ListOf(line_of()),
    )
    oauth_max_lifetime: int = setting(
        0,
        "Longest lifetime of a token (`exp` minus `iat`), in seconds; 0: any. With a limit, both are required.",
        NumberRange(0, MAX_SECONDS),
    )
    oauth_subject_claim: str = setting("sub", "Claim that holds the subject. Dots lead into objects.", line_of())
    oauth_tenant_claim: str = setting(
        "", "Claim that holds the tenant; empty: every token is of the local tenant.", line_of(optional=True)
    )
    oauth_roles_claim: str = setting("roles", "Claim that holds names of roles, e.g. realm_access.roles.", line_of())
    oauth_scopes_claim: str = setting("scope", "Claim that holds scopes, as one text or as a list.", line_of())
    oauth_introspection_url: str = setting(
        "", "Endpoint that is asked about tokens that are no JWT (RFC 7662).", url_of("https", "http")
    )
    oauth_introspection_client: str = setting("", "Client id for that endpoint.", line_of(optional=True))
    oauth_introspection_secret_env: str = setting(
        "WORKBENCH_OAUTH_INTROSPECTION_SECRET",
        "Variable of the environment with the client's secret.",
        line_of("the name of a variable", r"[A-Za-z_][A-Za-z0-9_]*"),
    )
    oauth_server: bool = setting(False, "Whether the gateway is also an OAuth authorization server, for local use.")
    oauth_registration: bool = setting(False, "Whether clients may register themselves at it (RFC 7591).")
    oauth_spiffe_socket: str = setting(
        "",
        "SPIFFE Workload API whose JWT-SVIDs clients may authenticate with, e.g. unix:///run/spire/agent.sock.",
        url_of("unix", "tcp", example="unix:///run/spire/agent.sock"),
    )
    tls_port: str = setting(
        "", "Port of a further listener with TLS, or `auto`; empty: none.", port_number(optional=True)
    )
    tls_host: str = setting("127.0.0.1", "Address that the listener with TLS binds to.", HOST)
    tls_cert: Path | None = setting(None, "File with its certificate, PEM; read again when it changes.", PATH)
    tls_key: Path | None = setting(None, "File with the key of that certificate, readable by its owner alone.", PATH)
    tls_client_ca: Path | None = setting(
        None, "File with CA certificates for clients, PEM: every client must then present an X.509-SVID.", PATH
    )
    tls_trust_domain: str = setting(
        "",
        "Trust domain of those clients; empty: that of the gateway's own X.509-SVID.",
        line_of("the name of a trust domain", r"[a-z0-9._-]{1,255}", optional=True),
    )
    spiffe_socket: str = setting(
        "",
        "SPIFFE Workload API that issues the gateway's own identity, e.g. unix:///run/spire/agent.sock.",
        url_of("unix", "tcp", example="unix:///run/spire/agent.sock"),
    )
    oauth_token_seconds: int = setting(
        300, "Lifetime of the access tokens it issues, in seconds.", NumberRange(0, 86_400, above=True)
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses or networks of proxies whose Forwarded or X-Forwarded-For says where a request comes from.",
        ListOf(NETWORK),
    )
    failed_credentials_per_minute: int = setting(
        30, "Wrong credentials of one address in a minute before it gets 429; half as many of one credential.", COUNT
    )
    connections_per_address: int = setting(
        1024, "Connections of one address at once before further ones get 503.", COUNT
    )
    connections: int = setting(8192, "Connections of all addresses at once before further ones get 503.", COUNT)
    tenant: str = setting(
        "local",
        "Tenant of the local user, and of keys and tokens that name no other.",
        line_of("a name of at most 256 characters", r".{1,256}"),
    )
    secrets: tuple[str, ...] = setting(
        ("env", "file"),
        "Where `secret:NAME` is looked up, in this order: env, file, aws.",
        ListOf(one_of("env", "file", "aws"), least=1),
    )
    secrets_folder: Path | None = setting(
        None, "Folder of files with one secret each, for `file`; default is secrets in the state folder.", PATH
    )
    secrets_ttl: float = setting(300.0, "Seconds for which a secret is cached.", SECONDS)
    secrets_stale: float = setting(
        3600.0, "Seconds for which a cached secret may be used while its source does not answer.", SECONDS
    )
    servers: tuple[str, ...] = field(
        default_factory=default_servers,
        metadata={"meaning": "Which bundled servers to launch.", "check": ListOf(_BundledServer())},
    )
    data: Path | None = setting(None, "Folder of data files (CSV, Parquet, JSON, Excel …) to serve as tables.", PATH)
    data_null_values: tuple[str, ...] = setting(
        (),
        "Texts that mean NULL in delimited files and workbooks; empty: NULL and \\N.",
        ListOf(line_of("one line of text")),
    )
    mcp_config: Path | None = setting(None, "An `mcp.json` with further servers (the `mcpServers` format).", PATH)
    profiles: Path | None = setting(
        None,
        "File of named selections of servers and tools; default is a profiles.toml here or in the state folder.",
        PATH,
    )
    tool_name_style: ToolNameStyle = setting(
        "model",
        "Names in lists of /mcp and profiles: model (crm__search, what model APIs accept) or dotted (crm.search).",
    )
    local_urls: bool = setting(
        False, "Whether servers registered through the API may be on loopback. Those of an mcp.json always may."
    )
    upstream_ports: tuple[str, ...] = setting(
        ("80", "443", "1024-65535"),
        "Ports that URLs of servers registered through the API may have. Those of an mcp.json may have any.",
        ListOf(PORTS, least=1),
    )
    knowledge: tuple[Path, ...] = setting((), "Further folders of documents for the knowledge server.", ListOf(PATH))
    files_root: Path | None = setting(None, "Root of the files server; default is the sample folder.", PATH)
    policy: Path | None = setting(None, "Folder of Rego files and data that replaces the shipped policy.", PATH)
    policy_engine: str = setting(
        "",
        "Policy engine that decides every call; empty: opa where opa_url is set, else embedded-rego.",
        line_of("the name of a policy engine", r"[a-z0-9][a-z0-9-]*", optional=True),
    )
    opa_url: str = setting(
        "",
        "URL of an Open Policy Agent that decides every call; empty takes the embedded engine.",
        url_of("http", "https"),
    )
    database_url: str = secret(
        "",
        "URL of a Postgres that holds keys, approvals and pins for several gateways; empty keeps them in SQLite.",
        POSTGRES,
    )
    database_schema: str = setting(
        "workbench",
        "Schema of this deployment in that Postgres.",
        line_of("the name of a schema", r"[A-Za-z_][A-Za-z0-9_$]{0,62}"),
    )
    database_grace: float = setting(
        60.0,
        "Seconds for which known callers are still accepted while that Postgres does not answer.",
        NumberRange(5, MAX_SECONDS),
    )
    redis_url: str = setting(
        "",
        "URL of a Redis through which several gateways share limits and reach each other; empty: one gateway.",
        REDIS,
    )
    redis_down: RedisDown = setting(
        "deny", "When Redis does not answer: deny what it counts, or count in the memory of each process."
    )
    cache_url: str = setting(
        "", "URL of a Redis that caches results for all gateways; empty: each has its own cache in memory.", REDIS
    )
    argument_guard: bool = setting(
        True,
        "Whether suspicious arguments to servers that are not bundled need a person's approval.",
    )
    standing_approvals: bool = setting(
        False, "Whether an approval may let its caller repeat a destructive call; needs the scope approvals:standing."
    )
    standing_approval_uses: int = setting(100, "Most calls that one standing approval lets through.", COUNT)
    standing_approval_seconds: float = setting(
        28_800.0, "Longest time that one standing approval lasts, in seconds.", NumberRange(60, 604_800)
    )
    slack_channel: str = setting(
        "",
        "Id of the Slack channel where approvals are asked for; empty asks nobody there.",
        line_of("the id of a channel", r"[A-Za-z0-9_-]{1,64}", optional=True),
    )
    slack_approvers: Path | None = setting(None, "File that says who in Slack may decide approvals, and as whom.", PATH)
    slack_api_url: str = setting(
        "https://slack.com/api/", "Base URL of Slack's API.", url_of("http", "https", optional=False)
    )
    audit_mode: AuditMode = setting("os", "When a record counts as written: async, os, fsync or strict.")
    audit_segment_bytes: int = setting(64 << 20, "Size at which a segment of the log is sealed, in bytes.", BYTES)
    audit_segment_seconds: float = setting(
        10.0, "Age at which a segment of the log is sealed and a checkpoint signed, in seconds.", SECONDS
    )
    audit_witness: str = setting(
        "",
        "Folder on another disk, or URL of a C2SP tlog-witness, that gets every signed checkpoint of the log.",
        folder_or_url("http", "https", expected="a folder, or an http(s) URL"),
    )
    audit_witness_key: Path | None = setting(
        None,
        "File with the public key of the witness (its `witness.pub`): `audit verify` then demands its signature.",
        PATH,
    )
    audit_store: str = setting(
        "",
        "Folder, or s3://bucket/prefix, to which everything that is sealed is copied once a minute.",
        folder_or_url("s3", "gs", "az", expected="a folder, or s3://bucket/prefix"),
    )
    audit_sink: str = secret(
        "",
        "URL of a Postgres that gets every record before it is acknowledged, and keeps it until audit_store has it.",
        POSTGRES,
    )
    audit_catalog: str = secret(
        "", "URL of a Postgres with the catalog of the files that make up the common record of all gateways.", POSTGRES
    )
    audit_warehouse: str = setting(
        "",
        "Folder, or s3://bucket/prefix, shared by all gateways, for the metadata files of that catalog.",
        folder_or_url("s3", "gs", "az", expected="a folder, or s3://bucket/prefix"),
    )
    audit_engine: str = secret(
        "", "URL of a Postgres that gets the rows of all gateways of a fleet and answers SQL over them.", POSTGRES
    )
    audit_encrypt: bool = setting(
        False, "Whether arguments, answers and questions are recorded encrypted, with a key for each person."
    )
    audit_queue_bytes: int = setting(64 << 20, "Most bytes waiting to be written before calls are refused.", BYTES)
    audit_min_free_bytes: int = setting(
        64 << 20, "Calls are refused when the disk of the log has less free, in bytes.", NumberRange(0, MAX_BYTES)
    )
    record_bytes_per_hour: int = setting(
        2 << 30,
        "Most bytes that one tenant may add to the record in an hour before its calls get 429; 0: no limit.",
        NumberRange(0, MAX_BYTES),
    )
    call_timeout: float = setting(
        120.0, "Longest time a tool may take without an answer and without progress, in seconds.", SECONDS
    )
    call_timeout_with_progress: float = setting(
        1800.0, "Longest time a tool may take however much progress it reports, in seconds.", SECONDS
    )
    tool_timeouts: Mapping[str, float] = table(
        "Other longest times of single tools or servers, in seconds: crm.search_customers=5,analytics.*=60.",
        NumbersByName(SECONDS),
    )
    replicas: Mapping[str, int] = table(
        "How many processes serve a launched server at once, by server: crm=2.", NumbersByName(NumberRange(1, 1_000))
    )
    calls_per_replica: int = setting(
        1024, "Calls under way on one replica of a server before further ones get 503.", COUNT
    )
    calls_at_once: int = setting(4096, "Calls under way on all servers before further ones get 503.", COUNT)
    max_request_bytes: int = setting(4 << 20, "Largest request body, in bytes.", BYTES)
    max_result_bytes: int = setting(8 << 20, "Largest tool result that is passed on, in bytes.", BYTES)
    rate_per_minute: int = setting(
        1000, "Calls per minute and caller before 429. The identity counts, not the session.", COUNT
    )
    start_timeout: float = setting(
        600.0,
        "Longest time that a launched server may take to become ready while its processes work, in seconds.",
        SECONDS,
    )
    health_interval: float = setting(5.0, "Seconds between two health checks of one server.", SECONDS)
    restart_backoff: float = setting(
        0.5,
        "First pause before a dead server is restarted, in seconds; doubles up to 30, or 300 if it always fails alike.",
        SECONDS,
    )
    provider: str = setting(
        "auto",
        f"Who answers questions: auto, {', '.join(provider_names())}.",
        MatchingText(
            f"one of auto, {', '.join(provider_names())}", lambda value: value == "auto" or value in PROVIDERS
        ),
    )
    model: str = setting("", "Model of the provider; empty takes the default in models.toml.", line_of(optional=True))
    max_turns: int = setting(12, "Most turns of one run: answers of the model, each with its tool calls.", COUNT)
    token_budget: int = setting(200_000, "Most tokens of one run, input and output together.", COUNT)
    cost_budget: float = setting(0.0, "Most US dollars of one run; 0: no limit.", NumberRange(0, 1e9))
    user_tokens_per_day: int = setting(
        0, "Most tokens of one person's runs in a day (UTC); 0: no limit.", NumberRange(0, 1e15)
    )
    user_cost_per_day: float = setting(
        0.0, "Most US dollars of one person's runs in a day (UTC); 0: no limit.", NumberRange(0, 1e9)
    )
    run_timeout: float = setting(180.0, "Longest time of one run, in seconds.", SECONDS)
    parallel_calls: int = setting(4, "Most tool calls of one turn that run at once.", COUNT)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        options: Mapping[str, str] | None = None,
        **given: Any,
    ) -> Settings:
        """Read all sources and return frozen settings.

        Args:
            env: environment to read instead of the process's.
            cwd: folder where `workbench.toml` is looked for; default the working directory.
            options: of settings that are given, how the user wrote them, e.g. `{"mcp_config": "--config"}`.
            given: values that win over all others; None means "not given".

        Raises:
            MisuseError: an unknown name, or a value that does not fit; the message names the source.
        """
        env = os.environ if env is None else env
        cwd = cwd or Path.cwd()
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}

        def take(found: Mapping[str, Any], source: str) -> None:
            for name, value in found.items():
                values[name] = _convert(name, value, source)
                sources[name] = source

        take(_read_toml(cwd / "workbench.toml"), "workbench.toml")
        from_env = {n: env[_variable(n)] for n in names() if env.get(_variable(n))}
        named = next(
            (n for n in ((given.get("home"), "given"), (from_env.get("home"), _variable("home"))) if n[0]), None
        )
        home, source = named or (values.get("home") or cls.home, sources.get("home", "default"))
        home = _convert("home", home, source)
        _check_value("home", home, source)
        take({k: v for k, v in _read_toml(home / "config.toml").items() if k != "home"}, str(home / "config.toml"))
        for name, text in from_env.items():
            take({name: text}, _variable(name))
        for name, value in given.items():
            if value is not None:
                take({name: value}, (options or {}).get(name, "given"))
        if given.get("home") and sources.get("url") in (_variable("url"), "workbench.toml"):
            del values["url"], sources["url"]  # who names a state folder means the platform on it
        values["home"] = home if home.is_absolute() else (cwd / home)
        settings = cls(**values, sources=sources)
        settings._check()
        return settings

    def source_of(self, name: str) -> str:
        """Where the value of `name` came from: `default`, a file, a variable, an option (`--port`), or `given`."""
        return self.sources.get(name, "default")

    def replace(self, **changes: Any) -> Settings:
        """A copy with other values, marked as given."""
        sources = {**self.sources, **dict.fromkeys(changes, "given")}
        return dataclasses.replace(self, **changes, sources=sources)

    def _check(self) -> None:
        unknown = [s for s in self.servers if s not in selectable_servers()]
        if unknown:
            raise MisuseError(
                f"Setting servers names {unknown[0][:200]!r}{_from(self.source_of('servers'))}.",
                hint=f"Bundled servers are {', '.join(selectable_servers())}; foreign ones go into an mcp.json.",
            )
        for name in names():
            _check_value(name, getattr(self, name), self.source_of(name))
        if self.app_host not in LOOPBACK:
            raise MisuseError(
                f"Setting app_host is {self.app_host!r}{_from(self.source_of('app_host'))}: whoever uses the app acts "
                "as the owner. Its link signs in a browser, not a person, and the app serves no TLS.",
                hint="Leave it at 127.0.0.1 and reach it through an SSH tunnel: ssh -L 8501:127.0.0.1:8501 HOST.",
            )
        host = self.tls_host if self.tls_port and self.host in LOOPBACK else self.host
        if not self.authentication and host not in LOOPBACK:
            raise MisuseError(
                f"Authentication is off and host is {host!r}.",
                hint="Switch authentication on, or bind to 127.0.0.1.",
            )


def names() -> tuple[str, ...]:
    """All settings, in the order of the class."""
    return tuple(f.name for f in dataclasses.fields(Settings) if f.name != "sources")


def meaning(name: str) -> str:
    """The one-line meaning of a setting."""
    return str(_metadata(name)["meaning"])


def _metadata(name: str) -> Mapping[str, Any]:
    return next(f.metadata for f in dataclasses.fields(Settings) if f.name == name)


def _refusal(name: str, value: Any, source: str, expected: str) -> MisuseError:
    shown = "not what it can be" if _metadata(name).get("secret") else repr(value)[:200]
    return MisuseError(f"Setting {name} is {shown}{_from(source)}.", hint=f"Expected {expected}.")


def _from(source: str) -> str:
    """Where a value came from, in brackets; nothing for one that was given in code, where there is no other place."""
    return "" if source == "given" else f" (from {source})"


def _check_value(name: str, value: Any, source: str) -> None:
    check: ValueCheck | None = _metadata(name).get("check")
    if check is not None and not check.accepts(value):
        raise _refusal(name, value, source, check.expected)


def _variable(name: str) -> str:
    return f"WORKBENCH_{name.upper()}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as e:  # of TOML, of text that is no UTF-8, or of a path with a NUL
        raise MisuseError(f"{path} is not valid TOML: {e}.", hint="Mend the file or move it away.") from e
    for name in found:
        if name not in names():
            close = close_names(name, names(), 1)
            also = f"Did you mean {close[0]!r}?" if close else "See `workbench doctor` for all settings."
            raise MisuseError(f"{path} sets {name!r}, which is no setting.", hint=also)
    return found


def _convert(name: str, value: Any, source: str) -> Any:
    """`value` as the type of the setting; text from the environment is parsed."""
    if name not in names():
        raise MisuseError(
            f"{source} sets {name!r}, which is no setting.", hint="See `workbench doctor` for all settings."
        )
    kind = get_type_hints(Settings)[name]
    try:
        return converted(kind, value)
    except (ValueError, TypeError) as e:
        raise _refusal(name, value, source, str(e)) from e


# --- the state folder --------------------------------------------------------

FORMAT = "mcp-workbench state, format 1\n"

_PUT_THERE: Final = frozenset(
    {"config.toml", "mcp.json", "models.toml", "profiles.toml", "retention.toml", "policy", "secrets", "lost+found"}
)
"""What people may have put into the folder before the first start, and what file systems do."""


def prepare_home(home: Path) -> Path:
    """Make or recognise the state folder, readable by its owner alone.

    Raises:
        MisuseError: `home` is a file, holds something else, or was written in another format. Nothing is changed then.
    """
    try:
        return _prepare_home(home)
    except OSError as e:
        raise MisuseError(
            f"{home} cannot be used as state folder: {e.strerror or e}.",
            hint="Set WORKBENCH_HOME to a folder of yours.",
        ) from e


def _prepare_home(home: Path) -> Path:
    marker = home / "FORMAT"
    if home.exists() and not home.is_dir():
        raise MisuseError(f"{home} is a file.", hint="Set WORKBENCH_HOME to a folder.")
    if marker.exists():
        found = marker.read_text(encoding="utf-8", errors="replace")
        if found != FORMAT:
            raise MisuseError(
                f"{home} was written as {found.strip()!r}; this version reads {FORMAT.strip()!r}.",
                hint="Use the version that wrote it, or set WORKBENCH_HOME to another folder.",
            )
        return home
    there = sorted(path.name for path in home.iterdir()) if home.exists() else []
    # names that begin with FORMAT are another process's start, or one that was killed
    strange = [name for name in there if name not in _PUT_THERE and not name.startswith("FORMAT")]
    if strange:
        raise MisuseError(
            f"{home} is not empty and is no workbench state folder: {strange[0]!r} is in it.",
            hint="Move its content away, or set WORKBENCH_HOME to another folder.",
        )
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    temporary = home / f"FORMAT.{os.getpid()}.tmp"  # two processes may start at once
    temporary.write_text(FORMAT, encoding="utf-8")
    temporary.rename(marker)
    return home


def open_control(home: Path) -> sqlite3.Connection:
    """A connection to the control database (keys, approvals, registered servers) in autocommit mode.

    Every room creates and owns its own tables in it. Short statements only; several processes share the file.

    Raises:
        MisuseError: the file is corrupt or is something else.
    """
    path = home / "control.db"
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("pragma foreign_keys = on")
    except sqlite3.DatabaseError as e:
        if db is not None:
            db.close()
        raise MisuseError(
            f"{path} is not a readable database: {e}.", hint="Restore it from a copy, or move it away."
        ) from e
    path.chmod(0o600)
    return db
