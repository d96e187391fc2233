"""The one way to a tool: every door ends here, and everything that happens here is on the record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from workbench.audit.format import records
from workbench.audit.write.repeated_refusals import SINGLY
from workbench.background_tasks import BackgroundTasks
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.config import Settings
from workbench.events import (
    JSON,
    Call,
    Caller,
    Decision,
    NotRecordedError,
    Outcome,
    OutcomeKind,
    Tool,
)
from workbench.gateway.approval_gate import CLOSE_TIMEOUT_S, ApprovalGate, ApprovedCall
from workbench.gateway.argument_validation import BrokenSchemaError, SchemaValidators
from workbench.gateway.call_metrics import CallMetrics
from workbench.gateway.call_rates import CallRates
from workbench.gateway.call_record import CallRecorder
from workbench.gateway.dispatch import Dispatcher
from workbench.gateway.profiles import Profiles
from workbench.gateway.refusals import CallRefusedError, CallState, denied, say, text_of
from workbench.gateway.resolve import ToolResolver
from workbench.gateway.results.outbound_redaction import LARGE, READY_TIMEOUT_S, OutboundRedaction
from workbench.gateway.results.portability import readable
from workbench.gateway.results.result_validation import ResultSchemas
from workbench.gateway.results.sensitive_elicitation import refusal_of, sensitive_questions
from workbench.gateway.wire_names import WireNames
from workbench.policy.argument_guard import MAX_INLINE_BYTES, guarded
from workbench.registry.definitions.poisoning_signals import of_result, plain
from workbench.scanning import PostponedError, work_aside
from workbench.secrets import SecretResolver
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.jsonrpc_messages import Notify, encode

if TYPE_CHECKING:
    from workbench.access import Access
    from workbench.audit import AuditLog
    from workbench.cluster.message_relay import MessageRelay
    from workbench.policy import Policy
    from workbench.registry import Registry

_SHORT: Final = 4 << 10

_MAX_LISTS: Final = 512
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Gateway:
    """Runs calls under the rules of one workbench.

    Args:
        settings: deadlines and caps.
        registry: which tools there are, and the connections to their servers.
        access: who is calling; used by the doors.
        policy: whether they may.
        audit: the record.
    """

    def __init__(self, settings: Settings, registry: Registry, access: Access, policy: Policy, audit: AuditLog) -> None:
        self.settings = settings
        self.registry = registry
        self.access = access
        self.policy = policy
        self.audit = audit
        self.tally = CallMetrics()
        self._validators = SchemaValidators()
        self._result_schemas = ResultSchemas(lambda tool, why: registry.withhold_output_schema(tool, why))
        self.profiles = Profiles(settings, registry)
        self.wire_names = WireNames(settings, registry)
        self.relay = _relay(settings)
        self.dispatch = Dispatcher(settings, registry, self.relay)
        self._resolving = ToolResolver(self)
        self.approving = ApprovalGate(policy, access, audit)
        self._rates = CallRates(policy.limits, audit.quota)
        self._keeper = CallRecorder(policy)
        self._lists: dict[Any, list[Tool]] = {}
        # two, because a third would only make the event loop wait longer for its turn
        self._threads = ThreadPoolExecutor(2, "redaction", initializer=work_aside)
        self.outbound = OutboundRedaction(policy, self._threads, settings.max_result_bytes)
        self._recording = BackgroundTasks("recording of calls")

    # --- the call path ------------------------------------------------------------------------------

    async def call(
        self, call: Call, *, notify: Notify | None = None, respondent: ClientResponder | None = None
    ) -> Outcome:
        """Run one tool once, or say why not. A tool's failure and every refusal are outcomes, not exceptions.

        Cancelling the task cancels the call on the server, and the call is recorded as cancelled.

        Args:
            call: who asks for what. `meta` holds the siblings of `name` and `arguments` in the client's `params`.
            notify: awaited with progress and log notifications of the server; it must not block for long.
            respondent: an older client that the server can ask something while it works.

        Raises:
            NotRecordedError: the record cannot be written. Nothing was answered, and nothing was done if that was known
                before.
        """
        started = perf_counter_ns()
        call, problem, size = readable(call)
        state = CallState(size)
        granted: ApprovedCall | None = None
        try:
            # 1. Who: the door has turned the credential into `call.caller`; no record can be kept without a log.
            if self.audit.failed:
                raise NotRecordedError(f"The audit log cannot be written: {self.audit.failed}.")
            self._rates.admit(call.caller)
            if problem:
                raise CallRefusedError(
                    "invalid", f"The arguments of {call.tool} cannot be used: {problem}.", rule="portable"
                )

            # 2. What: the tool of that name on a server that answers.
            tool, connection = self._resolving.resolve(call)
            state.tool = tool
            if listed := self.outbound.listed(tool):
                call = await self.outbound.meant(call, tool, listed)

            # 3. May they: scopes and policy, the arguments, how often, and where needed a human's approval.
            policy = self.policy
            decision = policy.decide(call, tool)
            if not isinstance(decision, Decision):
                decision = await decision
            state.decision = self._permit(call, tool, decision)
            if decision.allow and call.arguments and self._guards(tool):
                state.decision = await self._guarded(call, decision, size)
            if self._rates.local:
                self._rates.count(call.caller, tool, decision)
            else:
                await self._rates.count_shared(call.caller, tool, decision)
            state.counted = True
            if not state.decision.allow:
                granted = await self.approving.approved(call, tool, state.decision)
                call, state.decision, state.approval = granted.call, granted.decision, granted.approval.id
                state.arguments_bytes = len(encode(call.arguments))

            # 4. On the record: what is about to be done, where the setting asks for that.
            if self.audit.mode == "strict":
                await self._intend(call, tool, state.arguments_bytes)

            # 5. Do it.
            dispatched = perf_counter_ns()
            try:
                tell = self.outbound.notify(notify, call, state.decision)
                asked = self.outbound.respondent(respondent, call, state.decision)
                result, state.details = await self.dispatch.send(call, tool, connection, tell, started, asked)
                if granted is not None:
                    result, state.details = granted.told(result, state.details)
            finally:
                state.upstream_us = (perf_counter_ns() - dispatched) // 1000

            # 6. Shape it: nothing leaves that the decision withholds, and nothing larger than agreed.
            outcome = await self._shape(call, state, result, started)
        except CallRefusedError as refusal:
            outcome = state.refused(call, refusal)
            if not state.counted:
                await self._rates.charge(call.caller, refusal)
        except NotRecordedError:
            raise
        except asyncio.CancelledError:
            self._put_cancelled(call, state, started)
            raise
        except Exception as bug:
            broken = CallRefusedError("failed", f"The gateway has a bug: {type(bug).__name__}.")
            await self._record(call, state, state.refused(call, broken), started)
            raise

        # 7. On the record: the outcome is acknowledged before the answer leaves.
        return await self._record(call, state, outcome, started)

    def open(self) -> None:
        """Be there for the other gateway processes of this deployment, if there are any."""
        if self.relay is not None:
            self.relay.open()

    async def close(self) -> None:
        """Give up calls that wait for a client's answers; what is under way otherwise ends with its connection.

        What is being recorded is waited for.
        """
        await self.dispatch.close()
        await self.approving.close()
        await self._recording.finish(CLOSE_TIMEOUT_S)
        if self.relay is not None:
            await self.relay.close()

    async def refuse(self, call: Call, kind: OutcomeKind, message: str, **details: Any) -> Outcome:
        """The outcome of a call that a door turns down itself, because it cannot be read; recorded like any other.

        Raises:
            NotRecordedError: the record cannot be written.
        """
        call, _, size = readable(call)
        state = CallState(size)
        refusal = CallRefusedError(kind, message, **details)
        try:
            self._rates.admit(call.caller)
        except CallRefusedError as used:  # recorded as what it is; the door answers as it meant to
            await self._record(call, state, state.refused(call, used), perf_counter_ns())
            return state.refused(call, refusal)
        await self._rates.charge(call.caller, refusal)
        return await self._record(call, state, state.refused(call, refusal), perf_counter_ns())

    # --- lists: the same rules as for calls -----------------------------------------------------------

    def tools(self, caller: Caller, profile: str = "") -> list[Tool]:
        """The tools that `caller` may call, in a stable order; with `profile` those of it, as it presents them.

        Do not change the list.
        """
        if profile:
            within = self.profiles.find(profile)
            return [within.shown(tool) for tool in self.tools(caller) if within.has(tool.qualified)] if within else []
        key = self._list_key(caller)
        found = self._lists.get(key)
        if found is None:
            if len(self._lists) >= _MAX_LISTS:
                self._lists.clear()
            tenants = ("", caller.tenant)
            there = [tool for tool in self.registry.tools() if tool.tenant in tenants]
            found = [self.outbound.tool(tool, caller.tenant) for tool in there if self.policy.visible(caller, tool)]
            self._lists[key] = found
        return found

    async def judge(self, caller: Caller) -> None:
        """Have the rules asked about every tool, so that `tools` answers at once and nobody else waits meanwhile.

        To be awaited before anything is listed for `caller`: where the engine is elsewhere, nothing is visible without.
        """
        if self.policy.needs_prefetch:
            await self.policy.prefetch(caller, self._resolving.everything(caller))
        if self._list_key(caller) not in self._lists:
            if self.outbound.doubtful(self.registry.tools()):
                await asyncio.to_thread(self.policy.redactor.wait, READY_TIMEOUT_S)
            await asyncio.to_thread(self.tools, caller)

    def search(self, caller: Caller, query: str, limit: int = 20, profile: str = "") -> list[tuple[Tool, float]]:
        """Of the tools that `tools` gives, those nearest to `query`, best first, with a score."""
        tools = self.tools(caller, profile)
        if not profile and len(tools) == len(self.registry.tools()):
            # all of them, so that none has to be left out
            return [
                (self.outbound.tool(tool, caller.tenant), score) for tool, score in self.registry.search(query, limit)
            ]
        among = {tool.qualified: tool for tool in tools}
        found = self.registry.search(query, limit, among.keys())
        return [(among[tool.qualified], score) for tool, score in found]

    def _list_key(self, caller: Caller) -> tuple[Any, ...]:
        ready = self.policy.redactor.ready
        return (self.registry.version, self.policy.visibility_version(caller), ready, *identity(caller))

    # --- the steps --------------------------------------------------------------------------------------

    def _permit(self, call: Call, tool: Tool, decision: Decision) -> Decision:
        """`decision` where it allows the call, or would with an approval; everything else is a refusal.

        Policy speaks before the schema does, so that who may not call a tool does not learn about its arguments; and
        an approval is only asked for, or used up, by a call that nothing else stands against.
        """
        if not decision.allow and not decision.approval:
            raise denied(decision)
        try:
            problems = self._validators.problems(tool, call.arguments)
        except BrokenSchemaError as e:
            raise CallRefusedError("unavailable", str(e), decision=decision, rule="schema") from e
        if problems:
            raise CallRefusedError("invalid", say(tool, problems[0]), decision=decision, **problems[0], errors=problems)
        return decision

    def _guards(self, tool: Tool) -> bool:
        """Whether arguments of `tool` are looked at: bundled servers check what they are given themselves."""
        if not self.settings.argument_guard:
            return False
        spec = self.registry.spec(tool.server)
        return spec is None or spec.trust != "bundled"

    async def _guarded(self, call: Call, decision: Decision, size: int) -> Decision:
        if size <= MAX_INLINE_BYTES:
            return guarded(decision, call)
        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded, decision, call)

    async def _shape(self, call: Call, state: CallState, result: JSON, started: int) -> Outcome:
        decision = state.decision
        assert decision is not None
        if "inputRequests" in result and (field := sensitive_questions(result)):
            raise CallRefusedError("failed", refusal_of(field), rule="sensitive_question", field=field)
        encoded = encode(result)
        count, size = 0, len(encoded)
        if size <= LARGE:
            self._result_schemas.look(state.tool, result)
        if decision.redact:
            result, count = await self.outbound.result(result, encoded, decision, call.caller.tenant)
            if count:
                encoded = encode(result)
                size = len(encoded)
        most = min(decision.max_result_bytes or self.settings.max_result_bytes, self.settings.max_result_bytes)
        if size > most:
            message = f"The result has {size:,} bytes; at most {most:,} are passed on. Ask for less, e.g. with a limit."
            raise CallRefusedError("failed", message, rule="max_result_bytes", bytes=size)
        if size <= _SHORT or plain(encoded):
            signals = of_result(encoded)
        else:
            signals = await asyncio.get_running_loop().run_in_executor(self._threads, of_result, encoded)
        failed = result.get("isError") is True
        return Outcome(
            kind="tool_error" if failed else "ok",
            call=call.id,
            tool=call.tool,
            result=result,
            message=text_of(result) if failed else "",
            details={**state.details, "signals": [s.to_dict() for s in signals]} if signals else state.details,
            decision=decision,
            upstream_us=state.upstream_us,
            server=state.tool.server if state.tool else "",
            redactions=count,
            result_bytes=size,
            latency_us=(perf_counter_ns() - started) // 1000,
        )

    async def _intend(self, call: Call, tool: Tool, size: int) -> None:
        tenant = call.caller.tenant
        redact = partial(self.policy.redactor.record, call.arguments, tenant)
        args = await self.outbound.searched(redact, size)
        await self.audit.write(tenant, records.intent(call, tool, args_redacted=args))

    # --- the record: reached exactly once per call -----------------------------------------------------

    async def _record(self, call: Call, state: CallState, outcome: Outcome, started: int) -> Outcome:
        tool = state.tool
        if outcome.result is None:
            outcome = msgspec.structs.replace(outcome, latency_us=(perf_counter_ns() - started) // 1000)
            try:
                outcome = self.outbound.outcome(call, tool, outcome, inline=True)
            except PostponedError:
                return await self._recording.shielded(self._put_refused(call, tool, outcome))
            if records.is_refused(outcome) and self._repeated(call, tool, outcome):
                return outcome
        large = outcome.result_bytes > LARGE or state.arguments_bytes > LARGE
        acknowledged: asyncio.Future[None] | None = None
        if not large:
            try:
                acknowledged = self._put(call, outcome, self._keeper.keep(call, tool, outcome, inline=True))
            except PostponedError:
                large = True
        if large:
            # a caller who leaves meanwhile does not keep the outcome off the record
            acknowledged = await self._recording.shielded(self._put_large(call, tool, outcome))
        if acknowledged is not None:
            await acknowledged
        return outcome

    async def _put_refused(self, call: Call, tool: Tool | None, outcome: Outcome) -> Outcome:
        """Record an outcome that says so much that searching it takes a while; it is given as it may leave."""
        search = partial(self.outbound.outcome, call, tool, outcome)
        outcome = await asyncio.get_running_loop().run_in_executor(self._threads, search)
        if records.is_refused(outcome) and self._repeated(call, tool, outcome):
            return outcome
        acknowledged = await self._put_large(call, tool, outcome)
        if acknowledged is not None:
            await acknowledged
        return outcome

    def _repeated(self, call: Call, tool: Tool | None, outcome: Outcome) -> bool:
        """Whether a refusal was counted with others like it, of which there are too many to record each."""
        caller, rule = call.caller, str(outcome.details.get("rule", ""))
        alike = (
            caller.subject, caller.credential, call.source, call.profile, outcome.kind, rule,
            tool.qualified if tool is not None else "",
        )  # fmt: skip
        singly = 0 if rule == "record_bytes_per_hour" else SINGLY
        if not self.audit.repeats.add(
            caller.tenant, alike, lambda: self._keeper.keep_short(call, tool, outcome), singly=singly
        ):
            return False
        self.tally.count(outcome, caller.tenant)
        return True

    def _put_cancelled(self, call: Call, state: CallState, started: int) -> None:
        """Nobody waits for an answer any more, so nobody waits for the acknowledgement either."""
        gone = state.refused(call, CallRefusedError("cancelled", "The caller went away or asked to stop."))
        gone = msgspec.structs.replace(gone, latency_us=(perf_counter_ns() - started) // 1000)
        with contextlib.suppress(NotRecordedError):
            try:
                kept = self._keeper.keep(call, state.tool, gone, inline=True)
            except PostponedError:
                self._recording.start(self._put_large(call, state.tool, gone))
                return
            acknowledged = self._put(call, gone, kept)
            if acknowledged is not None:
                acknowledged.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _put_large(self, call: Call, tool: Tool | None, outcome: Outcome) -> asyncio.Future[None] | None:
        kept = await asyncio.get_running_loop().run_in_executor(self._threads, self._keeper.keep, call, tool, outcome)
        return self._put(call, outcome, kept)

    def _put(self, call: Call, outcome: Outcome, kept: JSON) -> asyncio.Future[None] | None:
        self.tally.count(outcome, call.caller.tenant)
        return self.audit.put(call.caller.tenant, kept)


def _relay(settings: Settings) -> MessageRelay | None:
    """The way to the other gateway processes, where the setting `redis_url` names one."""
    if not settings.redis_url:
        return None
    from workbench.cluster.message_relay import MessageRelay

    seal = SealedTokens(settings.home / "session.key", b"gateway relay v1")
    return MessageRelay(SecretResolver.of(settings).read(settings.redis_url), seal)


def identity(caller: Caller) -> tuple[Any, ...]:
    """What the rules can know of a caller; two callers with the same identity see the same tools."""
    return (caller.tenant, caller.subject, caller.roles, caller.scopes, caller.method)
