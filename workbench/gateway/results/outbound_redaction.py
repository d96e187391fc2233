"""The door through which everything leaves for a client: personal data and credentials are taken out here.

Results, errors, progress, logs, questions to the client, lists and what servers say of themselves all come from
servers, or quote what a caller sent. What is withheld is what the decision on the call says; where there is none, what
the rules withhold by default. Nothing is built for a client without one of these functions, or `wire.error`, which uses
`in_error`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from workbench.events import JSON, Call, Caller, Decision, Outcome, Tool
from workbench.gateway.call_record import LARGE as LARGE
from workbench.gateway.results.listed_values import ListedValues
from workbench.gateway.results.sensitive_elicitation import refusal_of, sensitive_field
from workbench.policy import Policy
from workbench.registry.connection import RpcError
from workbench.registry.definitions.tool_names import concealed
from workbench.registry.server import ServerState
from workbench.scanning import PostponedError
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.jsonrpc_messages import Notify, encode

T = TypeVar("T")

READY_TIMEOUT_S: Final = 15.0
"""Seconds that a list waits for the recognisers; what cannot be shown without them is withheld then."""

MAX_REMEMBERED: Final = 20_000
"""Definitions and entries of lists of which is remembered how they are shown."""

_INVALID_PARAMS: Final = -32602

_OWN: Final = frozenset({"approval", "approval_id", "missing_scopes"})
"""Details of an outcome that are the gateway's own ids and names of scopes."""

_SERVER_TEXTS: Final = ("title", "description", "version", "instructions", "last_error", "notices")
_TOOL_TEXTS: Final = ("title", "description", "input_schema", "output_schema", "annotations", "definition", "notes")


def _size_of(notification: JSON) -> int:
    """Bytes of a notification, or just more than LARGE when one of its texts has so many: encoding that takes long."""
    params = notification.get("params")
    if isinstance(params, dict) and any(isinstance(value, str) and len(value) > LARGE for value in params.values()):
        return LARGE + 1
    return len(encode(notification))


class OutboundRedaction:
    """Takes out of what leaves for a client whatever is not for it.

    Args:
        policy: its redactor, and what it withholds by default.
        threads: where long searches run.
        max_bytes: of the data of an error; results have a bound of their own.
    """

    def __init__(self, policy: Policy, threads: Executor, max_bytes: int) -> None:
        self._policy = policy
        self._threads = threads
        self._max_bytes = max_bytes
        self._shown: dict[Any, Any] = {}
        self._listed = ListedValues(policy.redactor)

    async def searched(self, search: Callable[..., T], size: int) -> T:
        """What `search` gives: here where that is soon done, else in a thread that lets others run meanwhile.

        Args:
            search: takes `inline`, and raises PostponedError with it when there is too much to read.
            size: bytes of what is searched.
        """
        if size <= LARGE:
            try:
                return search(inline=True)
            except PostponedError:
                pass
        return await asyncio.get_running_loop().run_in_executor(self._threads, search)

    # --- in the course of a call

    async def result(self, result: JSON, encoded: bytes, decision: Decision, tenant: str) -> tuple[JSON, int]:
        """A result as the caller may see it, and how many values were replaced."""
        questions = result.get("inputRequests")
        redact = partial(self._policy.redactor.result, result, decision.redact, tenant, encoded=encoded)
        if not isinstance(questions, dict):
            return await self.searched(redact, len(encoded))
        # a question has a schema, in which the names of columns are properties and not data
        rest = {key: value for key, value in result.items() if key != "inputRequests"}
        shown, count = await self.searched(
            partial(self._policy.redactor.result, rest, decision.redact, tenant), len(encoded)
        )
        asked, more = await self.searched(partial(self._questions, questions, tenant), len(encoded))
        return {**shown, "inputRequests": asked}, count + more

    def notify(self, notify: Notify | None, call: Call, decision: Decision) -> Notify | None:
        """`notify` for what the caller of a permitted call may be told."""
        if notify is None or not decision.redact:
            return notify
        tell, redact = notify, self._policy.redactor.message
        token = (call.meta.get("_meta") or {}).get("progressToken")

        async def cleaned(message: JSON) -> None:
            search = partial(redact, message, decision.redact, call.caller.tenant)
            shown, count = await self.searched(search, _size_of(message))
            params = message.get("params")
            if count and token is not None and isinstance(params, dict) and params.get("progressToken") == token:
                shown["params"] = {**shown["params"], "progressToken": token}  # the client's own
            await tell(shown)

        return cleaned

    def respondent(self, respondent: ClientResponder | None, call: Call, decision: Decision) -> ClientResponder | None:
        """`respondent` for what the caller of a permitted call may be asked."""
        if respondent is None:
            return None
        asked = respondent.ask

        async def ask(request: JSON) -> JSON:
            if field := sensitive_field(request):
                raise RpcError(_INVALID_PARAMS, refusal_of(field))
            if not decision.redact:
                return await asked(request)
            search = partial(self._questions, {"": request}, call.caller.tenant)
            shown, _ = await self.searched(search, len(encode(request)))
            answer = await asked(shown[""])
            content = answer.get("content")
            if isinstance(content, dict) and (doubtful := self._listed.doubtful(_form(request))):
                answer = {**answer, "content": await self._restored(content, doubtful, call.caller.tenant)}
            return answer

        return replace(respondent, ask=ask)

    def listed(self, tool: Tool) -> tuple[str, ...]:
        """Values that the schema of `tool` lists and that are shown as something else, perhaps; see `meant`."""
        return self._listed.doubtful(tool.input_schema, tool.definition_hash)

    async def meant(self, call: Call, tool: Tool, doubtful: tuple[str, ...]) -> Call:
        """The call with the values that the schema of `tool` lists, where the client sent what it was shown of them."""
        arguments = await self._restored(call.arguments, doubtful, call.caller.tenant, tool.definition_hash)
        return call if arguments is call.arguments else msgspec.structs.replace(call, arguments=arguments)

    async def _restored(self, given: JSON, doubtful: tuple[str, ...], tenant: str, mark: str = "") -> JSON:
        if not self._listed.ready:
            await asyncio.to_thread(self._listed.wait)
        return self._listed.restored(given, doubtful, tenant, mark)

    def outcome(self, call: Call, tool: Tool | None, outcome: Outcome, *, inline: bool = False) -> Outcome:
        """An outcome without a result, as the caller may see it: its message and details may quote anybody.

        Raises:
            PostponedError: with `inline`, when there is too much to read.
        """
        if outcome.result is not None:
            return outcome
        decision = outcome.decision
        names = decision.redact if decision is not None and decision.allow else self._policy.withheld
        if not names:
            return outcome
        own = {key: value for key, value in outcome.details.items() if key in _OWN}
        details = {key: self._bounded(value) for key, value in outcome.details.items() if key not in _OWN}
        said = [outcome.message, details, "" if tool is not None else outcome.tool]
        (message, details, name), count = self._policy.redactor.message(said, names, call.caller.tenant, inline=inline)
        if not count:
            return msgspec.structs.replace(outcome, details={**details, **own}) if details else outcome
        return msgspec.structs.replace(
            outcome, message=message, details={**details, **own}, tool=outcome.tool if tool is not None else name
        )

    def _bounded(self, detail: Any) -> Any:
        """A detail that is not larger than a result may be: the data of an error can be anything."""
        if not isinstance(detail, dict) or "data" not in detail:
            return detail
        size = len(encode(detail["data"]))
        return detail if size <= self._max_bytes else {**detail, "data": {"omitted": True, "bytes": size}}

    def _questions(self, questions: JSON, tenant: str, *, inline: bool = False) -> tuple[JSON, int]:
        """What a client is asked: schemas, messages, and the page to open, whose address is needed as it is but for
        personal data."""
        pages = {
            key: params["url"]
            for key, question in questions.items()
            if isinstance(question, dict)
            and isinstance(params := question.get("params"), dict)
            and isinstance(params.get("url"), str)
        }
        shown, count = self._policy.redactor.prose(questions, tenant, "message", inline=inline)
        for key, url in pages.items():
            if key in shown and url != shown[key]["params"]["url"]:
                page, _ = self._policy.redactor.text(url, tenant, lenient=False)
                shown[key] = {**shown[key], "params": {**shown[key]["params"], "url": page}}
        return shown, count

    # --- what there is

    def prose(self, value: T, tenant: str) -> T:
        """What servers say of themselves, and definitions: without personal data and credentials in their texts."""
        shown: T = self._policy.redactor.prose(value, tenant, "result")[0]
        return shown

    def tool(self, tool: Tool, tenant: str) -> Tool:
        """A tool as it is shown in lists; what is pinned, called and checked stays as its server lists it."""
        key = (tenant, tool.qualified, tool.definition_hash, tool.quarantined, tool.notes, tool.accepted_by)
        if tool.definition_hash and (known := self._shown.get(key)) is not None:
            return tool if known is True else msgspec.structs.replace(tool, **known)
        texts: JSON = {name: getattr(tool, name) for name in _TOOL_TEXTS}
        texts["quarantined"] = tool.quarantined
        shown, count = self._policy.redactor.prose(texts, tenant, "result")
        original = tool.original
        if original is not None and (hidden := concealed(original)) != original:
            shown = _without(shown, original, hidden)
            shown["original"], count = hidden, count + 1
        if count:
            shown["notes"] = tuple(shown["notes"])
        changed = {name: value for name, value in shown.items() if count and value != getattr(tool, name)}
        self._remember(key, changed or True)
        return msgspec.structs.replace(tool, **changed) if changed else tool

    def server(self, state: ServerState, caller: Caller) -> ServerState:
        """How a server is, as `caller` may see it: what it says of itself and wrote last may quote anybody."""
        if caller.has("pii:read"):
            return state
        said = {name: getattr(state, name) for name in _SERVER_TEXTS}
        shown, count = self._policy.redactor.prose(said, caller.tenant, "message")
        return msgspec.structs.replace(state, **{**shown, "notices": tuple(shown["notices"])}) if count else state

    async def entries(self, entries: list[JSON], tenant: str) -> list[JSON]:
        """Entries of a list of prompts, resources or templates as they are shown.

        An address that holds personal data is listed in a form that can be read by, see `opened`.
        """
        return await asyncio.to_thread(self._entries, entries, tenant)

    def _entries(self, entries: list[JSON], tenant: str) -> list[JSON]:
        redactor = self._policy.redactor
        if not redactor.ready and any(redactor.doubtful(encode(entry)) for entry in entries):
            redactor.wait(READY_TIMEOUT_S)
        return [self._entry(entry, tenant) for entry in entries]

    def _entry(self, entry: JSON, tenant: str) -> JSON:
        key = (tenant, hashlib.blake2b(encode(entry), digest_size=16).digest())
        if (known := self._shown.get(key)) is not None:
            return entry if known is True else known
        shown: JSON = self.prose(entry, tenant)
        if not {"uri", "uriTemplate"} & entry.keys():  # a prompt, which is asked for by its names
            shown = self._callable(shown, entry, tenant)
        meta = shown.get("_meta")
        original = meta.get("workbench/original_name") if isinstance(meta, dict) else None
        if isinstance(original, str) and (hidden := concealed(original)) != original:
            shown = _without(shown, original, hidden)
        self._remember(key, True if shown == entry else shown)
        return shown

    def _callable(self, shown: JSON, prompt: JSON, tenant: str) -> JSON:
        """A prompt whose name, and those of its arguments, can still be given where they had to be changed."""
        redactor = self._policy.redactor
        if isinstance(prompt.get("name"), str) and shown.get("name") != prompt["name"]:
            shown = {**shown, "name": redactor.address(prompt["name"], tenant)[0]}
        arguments, given = shown.get("arguments"), prompt.get("arguments")
        if isinstance(arguments, list) and isinstance(given, list) and arguments != given:
            pairs = zip(arguments, given, strict=True)
            arguments = [
                {**new, "name": redactor.address(str(old["name"]), tenant)[0]}
                if isinstance(new, dict) and isinstance(old, dict) and new.get("name") != old.get("name")
                else new
                for new, old in pairs
            ]
            shown = {**shown, "arguments": arguments}
        return shown

    def opened(self, params: JSON, tenant: str) -> JSON:
        """The params of a request with the addresses that servers know in place of those that were listed."""
        found = dict(params)
        for key in ("uri", "name"):
            if isinstance(params.get(key), str):
                found[key] = self.opened_address(params[key], tenant)
        ref = params.get("ref")
        if isinstance(ref, dict):
            found["ref"] = {key: self.opened_address(value, tenant) for key, value in ref.items()}
        if "name" in params and isinstance(arguments := params.get("arguments"), dict):
            found["arguments"] = {self.opened_address(key, tenant): value for key, value in arguments.items()}
        return found

    def opened_address(self, uri: Any, tenant: str) -> Any:
        """An address as its server knows it."""
        return self._policy.redactor.opened(uri, tenant) if isinstance(uri, str) else uri

    def doubtful(self, tools: list[Tool]) -> bool:
        """Whether something about these tools cannot be shown before the recognisers are there."""
        redactor = self._policy.redactor
        return not redactor.ready and any(redactor.doubtful(encode(tool.definition)) for tool in tools)

    def _remember(self, key: Any, value: Any) -> None:
        if self._policy.redactor.ready:  # until then suspicious texts are withheld whole
            if len(self._shown) >= MAX_REMEMBERED:
                self._shown.clear()
            self._shown[key] = value


# --- errors that no call has gone through

_current: ContextVar[tuple[Policy, str] | None] = ContextVar("outbound", default=None)


def enter(policy: Policy, tenant: str) -> None:
    """Say who is answered in this task from now on."""
    _current.set((policy, tenant))


def in_error(value: T) -> T:
    """What an error says, without personal data and credentials: it may quote anything that was sent."""
    from workbench.policy.redaction import redactor as redaction

    current = _current.get()
    if current is None:
        return redaction.anonymous(value)  # type: ignore[no-any-return]
    policy, tenant = current
    shown: T = policy.redactor.message(value, policy.withheld, tenant)[0]
    return shown


def _form(request: JSON) -> JSON:
    """The schema of the form that a question asks to be filled in."""
    params = request.get("params")
    schema = params.get("requestedSchema") if isinstance(params, dict) else None
    return schema if isinstance(schema, dict) else {}


def _without(value: Any, text: str, hidden: str) -> Any:
    """`value` with `text` replaced wherever it stands in a text."""
    if isinstance(value, str):
        return value.replace(text, hidden)
    if isinstance(value, dict):
        return {key: _without(item, text, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item, text, hidden) for item in value]
    return value
