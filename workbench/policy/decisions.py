"""One decision function: may this call happen, and what does it oblige the gateway to?

`decide` never raises. Whatever is undefined, late, malformed or broken is a denial that says which rule spoke. The part
that depends only on caller and tool is cached; size, approval and usage are looked at on every call.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, NamedTuple

import msgspec
import orjson

from workbench.config import Settings
from workbench.events import JSON, Call, Caller, Decision, Misuse, Tool
from workbench.policy import engine
from workbench.policy.approvals import Approvals
from workbench.policy.limits import RateLimits
from workbench.policy.redaction import Redactor

_CACHE_ENTRIES = 8192
_MAX_DECLARED = 200
_WATCH_SECONDS = 1.0


class _Static(NamedTuple):
    """What caller and tool alone decide."""

    tool: Tool
    """Kept so that the identity in the cache key cannot be taken over by another object."""
    decision: Decision
    """When a needed approval is there, or none is needed."""
    unapproved: Decision
    """When a needed approval is missing; the same as `decision` where none is needed."""
    max_arguments_bytes: int


class _Rules:
    """One revision of the rules with the answers it has given; replaced as a whole, so that no answer outlives it."""

    def __init__(self, rego: engine.RegoPolicy, fingerprint: object) -> None:
        self.rego = rego
        self.fingerprint = fingerprint
        self.static: dict[Any, _Static] = {}
        self.quotas: dict[tuple[str, str], int] = {}


class Policy:
    """The rules of one workbench, with its rate limits, redactor and approvals.

    Args:
        settings: `policy` names a folder whose files replace the shipped ones of the same name.

    Raises:
        Misuse: the policy does not load. There is no older one to fall back to, so nothing starts.
    """

    def __init__(self, settings: Settings) -> None:
        self._files = engine.Files(settings.policy)
        self._rules = self._load()
        self._reloading = threading.Lock()
        self.problem = ""
        """Why the files as they are now are not in force; empty when they are."""
        self.limits = RateLimits(settings.rate_per_minute, self.quota)
        self.redactor = Redactor(settings.home)
        self.approvals = Approvals(settings.home, self.redactor)
        self.warm()
        self._closed = threading.Event()
        if settings.policy is not None:
            threading.Thread(
                target=_watch, args=(weakref.ref(self), self._closed), name="policy-watch", daemon=True
            ).start()

    @property
    def revision(self) -> str:
        """Hash of the rules in force."""
        return self._rules.rego.revision

    def warm(self) -> None:
        """Load the recognisers of personal data in the background; until then suspicious text is withheld whole."""
        self.redactor.warm()

    def close(self) -> None:
        """Stop watching the files and close the database."""
        self._closed.set()
        self.approvals.close()

    # --- deciding --------------------------------------------------------------------------------

    def decide(self, call: Call, tool: Tool, *, approved: bool = False, usage: JSON | None = None) -> Decision:
        """Whether `call` may run `tool` now. Never raises.

        Args:
            call: the call; its `tool` must be the qualified name of `tool`.
            approved: True when a live human approval of exactly this call was consumed; anything else counts as no.
            usage: `{"calls_last_minute": n}` of this tenant on this tool, this call not counted, to hold against the
                quota; None where `limits` keeps the count.

        Returns:
            The decision. Where `approval` is set, `allow` is True only with `approved`.
        """
        started = time.perf_counter_ns()
        rules = self._rules
        try:
            decision = self._decide(rules, call, tool, approved is True, usage)
        except Exception as e:  # noqa: BLE001 - whatever breaks here is a denial, never an exception and never a yes
            decision = _denied(rules.rego.revision, "default_deny", f"The policy could not decide: {_plain(e)}.")
        return msgspec.structs.replace(decision, elapsed_us=(time.perf_counter_ns() - started) // 1000)

    def visible(self, caller: Caller, tool: Tool) -> bool:
        """Whether `caller` sees `tool` in lists: the rules of a call, a needed approval put aside."""
        try:
            return self._static(self._rules, caller, tool).decision.allow is True
        except Exception:  # noqa: BLE001 - what cannot be decided is not shown
            return False

    def quota(self, tenant: str, tool: str) -> int:
        """Calls per minute that `tenant` may make to the tool of this qualified name; 0 means no quota.

        Raises:
            Broken: the rules give no answer.
        """
        rules = self._rules
        found = rules.quotas.get((tenant, tool))
        if found is None:
            answer = rules.rego.ask(engine.TENANT_QUOTA, {"tenant": tenant, "tool": tool, "used": 0})
            if len(rules.quotas) >= _CACHE_ENTRIES:
                rules.quotas.clear()
            found = rules.quotas[tenant, tool] = answer["per_minute"]
        return found

    def _decide(self, rules: _Rules, call: Call, tool: Tool, approved: bool, usage: JSON | None) -> Decision:
        static = self._static(rules, call.caller, tool)
        decision = static.decision
        if decision.allow is not True:
            return decision
        if call.tool != f"{tool.server}.{tool.name}":
            return _denied(decision.revision, "default_deny", "The call names another tool than the one to be run.")
        if static.max_arguments_bytes:
            size = len(orjson.dumps(call.arguments))
            if size > static.max_arguments_bytes:
                return _denied(
                    decision.revision,
                    "tool_scopes.arguments_bytes",
                    f"The arguments have {size} bytes; {call.tool} takes at most {static.max_arguments_bytes}.",
                )
        if usage is not None:
            document = {"tenant": call.caller.tenant, "tool": call.tool, "used": usage["calls_last_minute"]}
            if type(document["used"]) is not int or document["used"] < 0:
                return _denied(decision.revision, "default_deny", "The usage to hold against the quota is no number.")
            answer = rules.rego.ask(engine.TENANT_QUOTA, document)
            if answer["allow"] is not True:
                return _denied(
                    decision.revision,
                    f"tenant_quota.{answer['rule']}",
                    f"Tenant {call.caller.tenant} has used its {answer['per_minute']} calls per minute of {call.tool}.",
                )
        # last, so that nobody is asked about a call that cannot run anyway
        return decision if approved else static.unapproved

    def _static(self, rules: _Rules, caller: Caller, tool: Tool) -> _Static:
        key = (
            id(tool),
            tool.definition_hash,
            caller.tenant,
            caller.subject,
            caller.roles,
            caller.scopes,
            caller.method,
        )
        found = rules.static.get(key)
        if found is None or found.tool is not tool:
            found = _judge(rules.rego, caller, tool)
            if len(rules.static) >= _CACHE_ENTRIES:
                rules.static.clear()
            rules.static[key] = found
        return found

    # --- keeping up with the files ---------------------------------------------------------------

    def reload(self) -> None:
        """Put the files as they are now in force, all at once.

        Raises:
            Misuse: they do not load. The rules before stay in force and `problem` says why.
        """
        with self._reloading:
            try:
                self._rules = self._load()
            except Misuse as e:
                self.problem = f"The changed policy is not in force, revision {self.revision} still is. {e}"
                raise
            self.problem = ""

    def _load(self) -> _Rules:
        fingerprint = self._files.fingerprint()
        return _Rules(engine.RegoPolicy(self._files.read(), self._files.where), fingerprint)


def _watch(policy: weakref.ref[Policy], closed: threading.Event) -> None:
    """Reload when a file changed; ends with the policy. Off the path of calls, once a second."""
    tried: object = None
    while not closed.wait(_WATCH_SECONDS):
        current = policy()
        if current is None:
            return
        try:
            seen = current._files.fingerprint()
            if seen == current._rules.fingerprint:
                current.problem = ""
            elif seen != tried:
                tried = seen
                current.reload()
        except (Misuse, OSError) as e:
            current.problem = current.problem or f"Revision {current.revision} stays in force. {e}"
        del current


def _judge(rego: engine.RegoPolicy, caller: Caller, tool: Tool) -> _Static:
    """Ask the rules about caller and tool, and turn the answer into the decisions to give."""
    answer = rego.ask(engine.TOOL_SCOPES, _document(caller, tool))
    needed = tool.scopes
    missing = tuple(needed[i] for i in answer["missing"] if type(i) is int and i >= 0)
    redact = (*answer["redact"], *_declared(tool)) if answer["redact_declared"] else ()
    if any(type(name) is not str for name in redact) or len(missing) != len(answer["missing"]):
        raise engine.Broken("a list in the decision holds something else than agreed")
    caps = [answer["caps"].get(name) for name in ("arguments_bytes", "result_bytes")]
    if any(type(cap) is not int or cap < 0 for cap in caps):
        raise engine.Broken("the caps of the decision are no numbers of bytes")
    qualified = tool.qualified
    base = Decision(
        allow=False,
        rule=f"tool_scopes.{answer['rule']}",
        reason=_reason(answer["rule"], caller, tool, missing),
        missing_scopes=missing,
        redact=tuple(dict.fromkeys(redact)),
        max_result_bytes=caps[1],
        revision=rego.revision,
        engine=engine.NAME,
    )
    if answer["allow"] is not True or missing:
        return _Static(tool, base, base, 0)
    approval = answer["approval"] is True
    decision = msgspec.structs.replace(base, allow=True, approval=approval)
    unapproved = decision
    if approval:
        unapproved = msgspec.structs.replace(
            base,
            rule="tool_scopes.approval",
            approval=True,
            reason=f"{qualified} may destroy something; a human has to approve this very call first.",
        )
    return _Static(tool, decision, unapproved, caps[0])


def _document(caller: Caller, tool: Tool) -> JSON:
    """The closed input of `tool_scopes`: every field present, every type exact."""
    scopes, roles, needed = caller.scopes, caller.roles, tool.scopes
    if type(scopes) is not frozenset or type(roles) is not tuple or type(needed) is not tuple:
        raise engine.Broken("scopes and roles of the caller or scopes of the tool are no sets of names")
    held = sorted(scopes)
    texts = (caller.tenant, caller.subject, caller.method, tool.server, tool.name, *held, *roles, *needed)
    if any(type(text) is not str for text in texts):
        raise engine.Broken("a name of the caller or the tool is no text")
    return {
        "caller": {
            "tenant": caller.tenant,
            "subject": caller.subject,
            "roles": list(roles),
            "scopes": held,
            "method": caller.method,
        },
        "tool": {
            "qualified": tool.qualified,
            "scopes": [{"name": scope, "forms": forms(scope)} for scope in needed],
            "read_only": tool.read_only,
            "destructive": tool.destructive,
            "quarantined": tool.quarantined != "",
        },
    }


def forms(scope: str) -> list[str]:
    """The names under which `scope` may be held: its own, and every wider one up to `*`. What `Caller.has` accepts."""
    parts = scope.split(":")
    return [scope, *(":".join(parts[:n]) + ":*" for n in range(len(parts) - 1, 0, -1)), "*"]


def _declared(tool: Tool) -> tuple[str, ...]:
    """Columns that the server itself says hold personal data (`_meta` key `workbench/pii`)."""
    meta = tool.definition.get("_meta")
    columns = meta.get("workbench/pii") if isinstance(meta, dict) else None
    names = columns if isinstance(columns, dict | list) else ()
    return tuple(name for name in names if isinstance(name, str))[:_MAX_DECLARED]


def _reason(rule: str, caller: Caller, tool: Tool, missing: tuple[str, ...]) -> str:
    who = f"{caller.subject} ({', '.join(caller.roles) or 'no role'})"
    match rule:
        case "allow":
            return ""
        case "missing_scopes":
            return f"{who} lacks {', '.join(missing)} for {tool.qualified}."
        case "quarantined":
            return f"{tool.qualified} is quarantined: {tool.quarantined}"
        case "unlabelled":
            return f"{tool.qualified} names no scope that it needs, so nobody may call it."
        case "no_caller":
            return "The call has no tenant or no subject."
        case _:
            return f"Rule {rule} denies {tool.qualified} to {who}."


def _denied(revision: str, rule: str, reason: str) -> Decision:
    return Decision(allow=False, rule=rule, reason=reason, revision=revision, engine=engine.NAME)


def _plain(error: Exception) -> str:
    """The error without values of the call in it: our own sentences, else only its type."""
    return str(error) if isinstance(error, engine.Broken) else type(error).__name__
