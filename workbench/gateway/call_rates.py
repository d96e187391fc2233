"""How often, and how much on the record: what stands against a call because of the calls before it."""

from __future__ import annotations

from typing import Final

from workbench.audit.write.tenant_byte_quota import ByteQuota
from workbench.events import Caller, Decision, Tool, UnreachableError
from workbench.gateway.refusals import CallRefusedError
from workbench.policy.limits.rate_limits import ExceededLimit, RateLimits

RATE: Final = "rate_limit"
BYTES: Final = "record_bytes_per_hour"
"""Names of the rules, as outcome and record have them."""


class CallRates:
    """Counts every call once, whatever becomes of it.

    Args:
        limits: calls by caller and minute, and by tenant and tool.
        quota: bytes on the record by tenant and hour.
    """

    def __init__(self, limits: RateLimits, quota: ByteQuota) -> None:
        self._limits = limits
        self._quota = quota
        self.local = limits.local
        """Whether `count` is what to call; else `count_shared`."""

    def admit(self, caller: Caller) -> None:
        """Refuse who has used up the rate, or whose tenant the bytes, before anything costs time. Counts nothing.

        Raises:
            CallRefusedError: how long to wait; or the bytes cannot be counted.
        """
        if (used := self._limits.waiting(caller)) is not None:
            raise throttled(used, caller)
        try:
            wait = self._quota.wait(caller.tenant)
        except UnreachableError as e:
            raise CallRefusedError("unavailable", str(e), rule=BYTES, retry_after=1) from e
        if wait:
            self._quota.refuse(caller.tenant)
            raise CallRefusedError("throttled", self._quota.words(caller.tenant, wait), rule=BYTES, retry_after=wait)

    def count(self, caller: Caller, tool: Tool, decision: Decision) -> None:
        """Count a call that nothing else stands against so far.

        Raises:
            CallRefusedError: the rate of the caller, or the tenant's quota on the tool, is used up.
        """
        used = self._limits.use(caller, tool)
        if used is not None:
            raise throttled(used, caller, tool, decision)

    async def count_shared(self, caller: Caller, tool: Tool, decision: Decision) -> None:
        """`count`, where the counters may lie in another process.

        Raises:
            CallRefusedError: as for `count`, or they cannot be looked at.
        """
        try:
            used = await self._limits.use_shared(caller, tool)
        except UnreachableError as e:
            raise CallRefusedError("unavailable", str(e), decision=decision, rule=RATE, retry_after=1) from e
        if used is not None:
            raise throttled(used, caller, tool, decision)

    async def charge(self, caller: Caller, refusal: CallRefusedError) -> None:
        """Count a call that was turned down before `count`, unless a used-up rate of the caller is why."""
        details = refusal.details
        if details.get("rule") in (RATE, BYTES) and details.get("window") != "tool":
            return
        if self._limits.local:
            self._limits.charge(caller)
        else:
            await self._limits.charge_shared(caller)


def throttled(
    used: ExceededLimit, caller: Caller, tool: Tool | None = None, decision: Decision | None = None
) -> CallRefusedError:
    """Says which limit is used up, and how long to wait."""
    whose = f"{tool.qualified} in {caller.tenant}" if tool is not None and used.name == "tool" else caller.subject
    message = f"The {used.limit} calls per minute of {whose} are used up. Wait {used.retry_s} s, then call again."
    numbers = {"limit": used.limit, "remaining": used.remaining, "reset_s": used.reset_s}
    return CallRefusedError(
        "throttled", message, decision=decision, rule=RATE, retry_after=used.retry_s, rate=numbers,
        window=used.name,
    )  # fmt: skip
