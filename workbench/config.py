"""Settings: every value has one place, a one-line meaning, and knows where it came from.

Order, later wins: the default, `workbench.toml` in the working directory, `config.toml` in the state folder, the
environment (`WORKBENCH_<NAME>` in capitals), what the command line or the caller of `open()` gave.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sqlite3
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from workbench.events import Misuse

BUNDLED_SERVERS = ("products", "crm", "tickets", "payments", "calendar", "analytics", "knowledge", "files")
"""The local servers over the sample company, in the order they are shown."""

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")

AuditMode = Literal["async", "os", "fsync", "strict"]
RedisDown = Literal["deny", "memory"]


def setting(default: Any, meaning: str) -> Any:
    """A field of `Settings`: its default and the sentence that `workbench doctor` prints."""
    return field(default=default, metadata={"meaning": meaning})


def secret(default: Any, meaning: str) -> Any:
    """A field of `Settings` that may hold a password: it is in no text of the settings."""
    return field(default=default, repr=False, metadata={"meaning": meaning, "secret": True})


def table(meaning: str) -> Any:
    """A field of `Settings` that holds numbers by name; empty unless set. As text it is written `name=1,other=2`."""
    return field(default_factory=dict, hash=False, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """All settings of one workbench. Build with `Settings.load()`; `source_of(name)` says where a value came from."""

    home: Path = setting(Path(".workbench"), "Folder of runtime state: log, lake, control database, keys.")
    url: str = setting(
        "", "Origin of a platform elsewhere to use, with the token in WORKBENCH_TOKEN; empty: that of the state folder."
    )
    host: str = setting("127.0.0.1", "Address the gateway and the app bind to. Anything wider needs authentication on.")
    port: str = setting("8800", "Port of MCP endpoint and management API, or `auto` for a free one.")
    app_port: str = setting("8501", "Port of the Streamlit app, or `auto`.")
    app: bool = setting(True, "Whether `workbench up` also starts the Streamlit app.")
    authentication: bool = setting(True, "Whether callers must present a token. Off is only accepted on loopback.")
    allowed_hosts: tuple[str, ...] = setting((), "Further values of the Host header to accept, e.g. a public name.")
    allowed_origins: tuple[str, ...] = setting((), "Origins of browsers to accept besides our own app.")
    public_url: str = setting("", "URL by which clients know the gateway behind a proxy, e.g. https://tools.example.")
    oauth_issuers: tuple[str, ...] = setting((), "Issuers whose access tokens are accepted. Empty: keys only.")
    oauth_audiences: tuple[str, ...] = setting(
        (), "Audiences to accept instead of the URLs of the gateway's endpoints."
    )
    oauth_algorithms: tuple[str, ...] = setting(
        ("ES256", "ES384", "RS256", "PS256", "Ed25519", "EdDSA"), "Signature algorithms that are accepted on tokens."
    )
    oauth_token_types: tuple[str, ...] = setting(
        ("at+jwt",), "Values of `typ` accepted on tokens. Add JWT for issuers that know no at+jwt."
    )
    oauth_subject_claim: str = setting("sub", "Claim that holds the subject. Dots lead into objects.")
    oauth_tenant_claim: str = setting("", "Claim that holds the tenant; empty: every token is of the local tenant.")
    oauth_roles_claim: str = setting("roles", "Claim that holds names of roles, e.g. realm_access.roles.")
    oauth_scopes_claim: str = setting("scope", "Claim that holds scopes, as one text or as a list.")
    oauth_introspection_url: str = setting("", "Endpoint that is asked about tokens that are no JWT (RFC 7662).")
    oauth_introspection_client: str = setting("", "Client id for that endpoint.")
    oauth_introspection_secret_env: str = setting(
        "WORKBENCH_OAUTH_INTROSPECTION_SECRET", "Variable of the environment with the client's secret."
    )
    oauth_server: bool = setting(False, "Whether the gateway is also an OAuth authorization server, for local use.")
    oauth_registration: bool = setting(False, "Whether clients may register themselves at it (RFC 7591).")
    oauth_spiffe_socket: str = setting(
        "", "Workload API whose JWT-SVIDs programs may show at it, e.g. unix:///run/spire/agent.sock."
    )
    tls_port: str = setting("", "Port of a further listener with TLS, or `auto`; empty: none.")
    tls_host: str = setting("127.0.0.1", "Address that the listener with TLS binds to.")
    tls_cert: Path | None = setting(None, "File with its certificate, PEM; read again when it changes.")
    tls_key: Path | None = setting(None, "File with the key of that certificate, readable by its owner alone.")
    tls_client_ca: Path | None = setting(
        None, "File with the authorities of workloads: every client then has to show an X.509-SVID."
    )
    tls_trust_domain: str = setting("", "Trust domain of those workloads; empty: that of our own X.509-SVID.")
    spiffe_socket: str = setting(
        "", "Workload API that gives this gateway its own identity, e.g. unix:///run/spire/agent.sock."
    )
    oauth_token_seconds: int = setting(300, "Lifetime of the access tokens it issues, in seconds.")
    tenant: str = setting("local", "Tenant of the local user and of calls without another.")
    secrets: tuple[str, ...] = setting(
        ("env", "file"), "Where `secret:NAME` is looked up, in this order: env, file, aws."
    )
    secrets_folder: Path | None = setting(
        None, "Folder of files with one secret each, for `file`; default is secrets in the state folder."
    )
    secrets_ttl: float = setting(300.0, "Seconds after which a secret is read anew.")
    secrets_stale: float = setting(3600.0, "Seconds that a secret stays good while its source does not answer.")
    servers: tuple[str, ...] = setting(BUNDLED_SERVERS, "Which bundled servers to launch.")
    data: Path | None = setting(None, "Folder of CSV, Parquet and JSON files to serve as tables.")
    mcp_config: Path | None = setting(None, "An `mcp.json` with further servers (the `mcpServers` format).")
    profiles: Path | None = setting(
        None, "File of named selections of servers and tools; default is a profiles.toml here or in the state folder."
    )
    local_urls: bool = setting(
        False, "Whether servers registered through the API may be on loopback. Those of an mcp.json always may."
    )
    knowledge: tuple[Path, ...] = setting((), "Further folders of documents for the knowledge server.")
    files_root: Path | None = setting(None, "Root of the files server; default is the sample folder.")
    policy: Path | None = setting(None, "Folder of Rego files and data that replaces the shipped policy.")
    opa_url: str = setting("", "URL of an Open Policy Agent that decides every call; empty takes the embedded engine.")
    database_url: str = secret(
        "", "URL of a Postgres that holds keys, approvals and pins for several gateways; empty keeps them in SQLite."
    )
    database_schema: str = setting("workbench", "Schema of this deployment in that Postgres.")
    database_grace: float = setting(
        60.0, "Seconds for which callers who are known stay so while that Postgres does not answer."
    )
    redis_url: str = setting(
        "", "URL of a Redis in which gateways count calls together and reach each other; empty: there is one."
    )
    redis_down: RedisDown = setting(
        "deny", "When Redis does not answer: deny calls, or count in the memory of each process."
    )
    cache_url: str = setting(
        "", "URL of a Redis in which answers are remembered for all processes; empty: each remembers its own."
    )
    slack_channel: str = setting("", "Id of the Slack channel where approvals are asked for; empty asks nobody there.")
    slack_approvers: Path | None = setting(None, "File that says who in Slack may decide approvals, and as whom.")
    slack_api_url: str = setting("https://slack.com/api/", "Base URL of Slack's API.")
    audit_mode: AuditMode = setting("os", "When a record counts as written: async, os, fsync or strict.")
    audit_segment_bytes: int = setting(64 << 20, "Size at which a segment of the log is sealed, in bytes.")
    audit_segment_seconds: float = setting(
        10.0, "Age at which a segment of the log is sealed and a checkpoint signed, in seconds."
    )
    audit_witness: str = setting(
        "", "Folder on another disk, or URL of a C2SP tlog-witness, that gets every signed checkpoint of the log."
    )
    audit_witness_key: Path | None = setting(
        None, "File with the public key of the witness (its `witness.pub`): `audit verify` then demands its signature."
    )
    audit_store: str = setting(
        "", "Folder, or s3://bucket/prefix, to which everything that is sealed is copied once a minute."
    )
    audit_sink: str = secret(
        "", "URL of a Postgres where every record is, too, before it is acknowledged, until audit_store has it."
    )
    audit_catalog: str = secret(
        "", "URL of a Postgres in which all gateways of a fleet say which files make up their common record."
    )
    audit_warehouse: str = setting(
        "", "Folder, or s3://bucket/prefix, that all gateways share, for the files of that catalog."
    )
    audit_engine: str = secret(
        "", "URL of a Postgres that gets the rows of all gateways of a fleet and answers SQL over them."
    )
    audit_encrypt: bool = setting(
        False, "Whether arguments, answers and questions are recorded encrypted, with a key for each person."
    )
    audit_queue_bytes: int = setting(64 << 20, "Most bytes waiting to be written before calls are refused.")
    audit_min_free_bytes: int = setting(64 << 20, "Calls are refused when the disk of the log has less free, in bytes.")
    call_timeout: float = setting(30.0, "Longest time a tool may take, in seconds.")
    tool_timeouts: Mapping[str, float] = table(
        "Other longest times of single tools or servers, in seconds: crm.search_customers=5,analytics.*=60."
    )
    replicas: Mapping[str, int] = table("How many processes serve a launched server at once, by server: crm=2.")
    calls_per_replica: int = setting(1024, "Calls under way on one replica of a server before further ones get 503.")
    calls_at_once: int = setting(4096, "Calls under way on all servers before further ones get 503.")
    max_request_bytes: int = setting(4 << 20, "Largest request body, in bytes.")
    max_result_bytes: int = setting(8 << 20, "Largest tool result that is passed on, in bytes.")
    rate_per_minute: int = setting(
        1000, "Calls per minute and caller before 429. The identity counts, not the session."
    )
    health_interval: float = setting(5.0, "Seconds between two health checks of one server.")
    restart_backoff: float = setting(
        0.5, "First pause before a dead server is restarted, in seconds; doubles up to 30."
    )
    provider: str = setting(
        "auto", "Who answers questions: auto, openai, anthropic, gemini, compatible, embedded, planner."
    )
    model: str = setting("", "Model of the provider; empty takes the default in models.toml.")
    max_turns: int = setting(12, "Most turns of one run.")
    token_budget: int = setting(200_000, "Most tokens of one run, input and output together.")
    cost_budget: float = setting(0.0, "Most US dollars of one run; 0: no limit.")
    user_tokens_per_day: int = setting(0, "Most tokens of one person's runs in a day (UTC); 0: no limit.")
    user_cost_per_day: float = setting(0.0, "Most US dollars of one person's runs in a day (UTC); 0: no limit.")
    run_timeout: float = setting(180.0, "Longest time of one run, in seconds.")
    parallel_calls: int = setting(4, "Most tool calls of one turn that run at once.")
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, *, env: Mapping[str, str] | None = None, cwd: Path | None = None, **given: Any) -> Settings:
        """Read all sources and return frozen settings.

        Args:
            env: environment to read instead of the process's.
            cwd: folder where `workbench.toml` is looked for; default the working directory.
            given: values that win over all others; None means "not given".

        Raises:
            Misuse: an unknown name, or a value that does not fit; the message names the source.
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
        home = _as(Path, given.get("home") or from_env.get("home") or values.get("home") or cls.home)
        take({k: v for k, v in _read_toml(home / "config.toml").items() if k != "home"}, str(home / "config.toml"))
        for name, text in from_env.items():
            take({name: text}, _variable(name))
        take({k: v for k, v in given.items() if v is not None}, "given")
        if given.get("home") and sources.get("url") in (_variable("url"), "workbench.toml"):
            del values["url"], sources["url"]  # who names a state folder means the platform on it
        values["home"] = home if home.is_absolute() else (cwd / home)
        settings = cls(**values, sources=sources)
        settings._check()
        return settings

    def source_of(self, name: str) -> str:
        """Where the value of `name` came from: `default`, a file, a variable, or `given`."""
        return self.sources.get(name, "default")

    def replace(self, **changes: Any) -> Settings:
        """A copy with other values, marked as given."""
        sources = {**self.sources, **dict.fromkeys(changes, "given")}
        return dataclasses.replace(self, **changes, sources=sources)

    def _check(self) -> None:
        for name in ("port", "app_port", *(["tls_port"] if self.tls_port else [])):
            value = getattr(self, name)
            if value != "auto" and not (value.isdigit() and 0 < int(value) < 65536):
                raise Misuse(
                    f"Setting {name} is {value!r} (from {self.source_of(name)}).",
                    hint="Expected a number from 1 to 65535, or 'auto'.",
                )
        for name in (
            "call_timeout",
            "run_timeout",
            "health_interval",
            "max_turns",
            "rate_per_minute",
            "parallel_calls",
            "oauth_token_seconds",
            "secrets_ttl",
            "secrets_stale",
            "calls_per_replica",
            "calls_at_once",
        ):
            if getattr(self, name) <= 0:
                raise Misuse(f"Setting {name} is {getattr(self, name)!r}.", hint="Expected a number above zero.")
        for name in ("cost_budget", "user_tokens_per_day", "user_cost_per_day"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise Misuse(f"Setting {name} is {getattr(self, name)!r}.", hint="Expected 0 or a number above.")
        for name in ("tool_timeouts", "replicas"):
            for key, value in getattr(self, name).items():
                if not 0 < value < float("inf"):
                    raise Misuse(f"Setting {name} has {key}={value!r}.", hint="Expected a number above zero.")
        if self.database_grace < 5:
            raise Misuse(f"Setting database_grace is {self.database_grace!r}.", hint="Expected 5 seconds or more.")
        unknown = [s for s in self.servers if s not in BUNDLED_SERVERS]
        if unknown:
            raise Misuse(
                f"Setting servers names {unknown[0]!r} (from {self.source_of('servers')}).",
                hint=f"Bundled servers are {', '.join(BUNDLED_SERVERS)}; foreign ones go into an mcp.json.",
            )
        host = self.tls_host if self.tls_port and self.host in _THIS_MACHINE else self.host
        if not self.authentication and host not in _THIS_MACHINE:
            raise Misuse(
                f"Authentication is off and host is {host!r}.",
                hint="Switch authentication on, or bind to 127.0.0.1.",
            )


def names() -> tuple[str, ...]:
    """All settings, in the order of the class."""
    return tuple(f.name for f in dataclasses.fields(Settings) if f.name != "sources")


def meaning(name: str) -> str:
    """The one-line meaning of a setting."""
    return next(str(f.metadata["meaning"]) for f in dataclasses.fields(Settings) if f.name == name)


def _variable(name: str) -> str:
    return f"WORKBENCH_{name.upper()}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as e:  # of TOML, of text that is no UTF-8, or of a path with a NUL
        raise Misuse(f"{path} is not valid TOML: {e}.", hint="Mend the file or move it away.") from e
    for name in found:
        if name not in names():
            close = difflib.get_close_matches(name, names(), 1)
            also = f"Did you mean {close[0]!r}?" if close else "See `workbench doctor` for all settings."
            raise Misuse(f"{path} sets {name!r}, which is no setting.", hint=also)
    return found


def _convert(name: str, value: Any, source: str) -> Any:
    """`value` as the type of the setting; text from the environment is parsed."""
    if name not in names():
        raise Misuse(f"{source} sets {name!r}, which is no setting.", hint="See `workbench doctor` for all settings.")
    kind = get_type_hints(Settings)[name]
    try:
        return _as(kind, value)
    except (ValueError, TypeError) as e:
        raise Misuse(f"Setting {name} is {value!r} (from {source}).", hint=f"Expected {e}.") from e


def _as(kind: Any, value: Any) -> Any:
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        parts = [p.strip() for p in value.split(",") if p.strip()] if isinstance(value, str) else value
        return tuple(_as(item, p) for p in parts)
    if get_origin(kind) is Mapping:
        if isinstance(value, str):
            pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
            if any(not separator for _, separator, _ in pairs):
                raise ValueError("name=number, several separated by commas")
            value = {name.strip(): number.strip() for name, _, number in pairs}
        if not isinstance(value, Mapping):
            raise ValueError("a table of numbers by name")
        return {str(name): _as(get_args(kind)[1], number) for name, number in value.items()}
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError("one of " + ", ".join(map(str, get_args(kind))))
        return value
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise ValueError("true or false")
    if kind is int or kind is float:
        try:
            return kind(value)
        except ValueError:
            raise ValueError("a whole number" if kind is int else "a number") from None
    if kind is str:
        return str(value)
    try:
        return Path(value).expanduser() if value else None  # Path and Path | None
    except RuntimeError:  # `~somebody` who has no account
        return Path(value)


# --- the state folder --------------------------------------------------------

FORMAT = "mcp-workbench state, format 1\n"

_PUT_THERE: Final = frozenset(
    {"config.toml", "models.toml", "profiles.toml", "retention.toml", "policy", "secrets", "lost+found"}
)
"""What people may have put into the folder before the first start, and what file systems do."""


def prepare_home(home: Path) -> Path:
    """Make or recognise the state folder, readable by its owner alone.

    Raises:
        Misuse: `home` is a file, holds something else, or was written in another format. Nothing is changed then.
    """
    try:
        return _prepare_home(home)
    except OSError as e:
        raise Misuse(
            f"{home} cannot be used as state folder: {e.strerror or e}.",
            hint="Set WORKBENCH_HOME to a folder of yours.",
        ) from e


def _prepare_home(home: Path) -> Path:
    marker = home / "FORMAT"
    if home.exists() and not home.is_dir():
        raise Misuse(f"{home} is a file.", hint="Set WORKBENCH_HOME to a folder.")
    if marker.exists():
        found = marker.read_text(encoding="utf-8", errors="replace")
        if found != FORMAT:
            raise Misuse(
                f"{home} was written as {found.strip()!r}; this version reads {FORMAT.strip()!r}.",
                hint="Use the version that wrote it, or set WORKBENCH_HOME to another folder.",
            )
        return home
    there = sorted(path.name for path in home.iterdir()) if home.exists() else []
    # names that begin with FORMAT are another process's start, or one that was killed
    strange = [name for name in there if name not in _PUT_THERE and not name.startswith("FORMAT")]
    if strange:
        raise Misuse(
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
        Misuse: the file is corrupt or is something else.
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
        raise Misuse(f"{path} is not a readable database: {e}.", hint="Restore it from a copy, or move it away.") from e
    path.chmod(0o600)
    return db
