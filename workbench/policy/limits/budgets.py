"""What a person's runs may use: tokens and money of a day, and of one run.

Tokens are set aside before a turn of a language model and settled after it, so that runs that race never use more than
the limit together. What a turn costs is known only after it, so a limit of money ends a run once it was reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.config import Settings
from workbench.control import open_store
from workbench.events import Caller, Record, UnreachableError, Usage
from workbench.policy.rego import rego_engine
from workbench.secrets import SecretResolver

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TABLE = """
create table if not exists spending (
  tenant text not null, subject text not null, day text not null, tokens integer not null, micros integer not null,
  primary key (tenant, subject, day)) strict;
"""
_KEPT_S = 2 * 24 * 3600
_MICROS = 1_000_000

SCRIPT = """
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or '0')
local micros = tonumber(redis.call('HGET', KEYS[1], 'micros') or '0')
local least, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local tokens_limit, micros_limit = tonumber(ARGV[3]), tonumber(ARGV[4])
if micros_limit > 0 and micros >= micros_limit then return {0, 'money'} end
if tokens_limit > 0 then most = math.min(most, tokens_limit - tokens) end
if most < least then return {0, 'tokens'} end
redis.call('HINCRBY', KEYS[1], 'tokens', string.format('%.0f', most))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {most, ''}
"""
"""KEYS: the day of a person. ARGV: least and most tokens, limits of tokens and micro-dollars, seconds to keep it."""


class BudgetLimits(Record, frozen=True, kw_only=True):
    """What one person may use; 0 means no limit. Money is in cents of a US dollar."""

    tokens_per_day: int = 0
    cents_per_day: int = 0
    tokens_per_run: int = 0
    cents_per_run: int = 0


class TokenReservation(NamedTuple):
    """Tokens that were set aside for a turn."""

    tokens: int
    """0 when there are too few."""
    why: str
    """Why there are none, for a person."""
    day: str
    """Whose limit they count against; empty when against none."""
    shared: bool = False
    """Whether they were set aside in Redis."""


class BudgetLedger:
    """Counts what people's runs use, in the control store or, with `redis_url`, in Redis.

    Args:
        settings: limits for everybody, and where to count.
        rules: (tenant, subject, roles) → the limits that the policy sets; the tighter ones of both hold.
        clock: seconds since the epoch; a day is one of UTC.
    """

    def __init__(
        self, settings: Settings, rules: Callable[[Caller], BudgetLimits], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._everybody = BudgetLimits(
            tokens_per_day=settings.user_tokens_per_day,
            cents_per_day=_cents(settings.user_cost_per_day),
            tokens_per_run=settings.token_budget,
            cents_per_run=_cents(settings.cost_budget),
        )
        self._store = open_store(settings)
        self._store.prepare("spending", _TABLE)
        self._redis: Redis | None = None
        self._when_down = settings.redis_down
        if settings.redis_url:
            from workbench.control.redis_client import redis_client
            from workbench.control.redis_script import TIMEOUT_S

            self._redis = redis_client(SecretResolver.of(settings).read(settings.redis_url), TIMEOUT_S)
            self._script = self._redis.register_script(SCRIPT)

    def limits(self, caller: Caller) -> BudgetLimits:
        """The tighter ones of settings and policy.

        Raises:
            Broken: the rules give no usable answer.
        """
        own, found = self._everybody, self._rules(caller)
        return BudgetLimits(
            **{name: _tighter(getattr(own, name), getattr(found, name)) for name in BudgetLimits.__struct_fields__}
        )

    async def reserve(self, caller: Caller, run: Usage, least: int, most: int) -> TokenReservation:
        """Set tokens aside for one turn. Whatever is broken grants nothing.

        Args:
            caller: whose run.
            run: what it has used so far.
            least: with fewer tokens the turn is not worth starting.
            most: that it can use, input and output together.
        """
        try:
            limits = self.limits(caller)
        except rego_engine.BrokenPolicyError:
            return TokenReservation(0, "What may be used cannot be found out: the policy gives no answer.", "")
        if limits.cents_per_run and run.cost_usd * 100 >= limits.cents_per_run:
            return TokenReservation(0, f"The budget of ${limits.cents_per_run / 100:.2f} of one run is used up.", "")
        if limits.tokens_per_run:
            left = limits.tokens_per_run - run.input_tokens - run.output_tokens
            most = min(most, max(left, least))
            if left <= 0:
                return TokenReservation(0, f"The budget of {limits.tokens_per_run} tokens of one run is used up.", "")
        if not limits.tokens_per_day and not limits.cents_per_day:
            return TokenReservation(most, "", "")
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        try:
            tokens, lacking, shared = await self._take(caller, day, least, most, limits)
        except UnreachableError as e:
            return TokenReservation(0, f"What may be used cannot be found out: {e}", "")
        if lacking == "money":
            return TokenReservation(
                0, f"Your budget of ${limits.cents_per_day / 100:.2f} for today (UTC) is used up.", ""
            )
        if lacking:
            return TokenReservation(0, f"Your budget of {limits.tokens_per_day} tokens for today (UTC) is used up.", "")
        return TokenReservation(tokens, "", day, shared)

    async def settle(self, caller: Caller, granted: TokenReservation, usage: Usage) -> None:
        """Count what a turn has really used instead of what was set aside."""
        if not granted.day:
            return
        tokens = usage.input_tokens + usage.output_tokens - granted.tokens
        micros = round(usage.cost_usd * _MICROS)
        if granted.shared and self._redis is not None:  # where they were set aside, and nowhere else
            from redis.exceptions import RedisError

            key = _key(caller, granted.day)
            with contextlib.suppress(RedisError, OSError, TimeoutError):  # what was set aside stays counted then
                async with self._redis.pipeline(transaction=True) as both:
                    both.hincrby(key, "tokens", tokens)
                    both.hincrby(key, "micros", micros)
                    await both.execute()
            return
        await self._store.aside(self._add, caller, granted.day, tokens, micros)

    async def used(self, caller: Caller) -> tuple[int, float]:
        """Tokens and dollars that somebody has used today (UTC).

        Raises:
            UnreachableError: they cannot be looked up.
        """
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        if self._redis is not None:
            found: Any = await _asked(self._redis.hmget(_key(caller, day), "tokens", "micros"))
            return int(found[0] or 0), int(found[1] or 0) / _MICROS
        tokens, micros = await self._store.aside(self._read, caller, day)
        return tokens, micros / _MICROS

    async def disconnect(self) -> None:
        """Close connections; counting again opens new ones."""
        if self._redis is not None:
            await self._redis.aclose()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    async def _take(
        self, caller: Caller, day: str, least: int, most: int, limits: BudgetLimits
    ) -> tuple[int, str, bool]:
        micros = limits.cents_per_day * _MICROS // 100
        if self._redis is not None:
            arguments = [least, most, limits.tokens_per_day, micros, _KEPT_S]
            try:
                tokens, lacking = await _asked(self._script(keys=[_key(caller, day)], args=arguments))
                return int(tokens), lacking.decode() if isinstance(lacking, bytes) else str(lacking), True
            except UnreachableError:
                if self._when_down != "memory":
                    raise
        limit = limits.tokens_per_day
        return *await self._store.aside(self._take_here, caller, day, least, most, limit, micros), False

    def _take_here(
        self, caller: Caller, day: str, least: int, most: int, tokens_limit: int, micros_limit: int
    ) -> tuple[int, str]:
        with self._store.exclusively("spending"):
            tokens, micros = self._read(caller, day)
            if micros_limit and micros >= micros_limit:
                return 0, "money"
            most = min(most, tokens_limit - tokens) if tokens_limit else most
            if most < least:
                return 0, "tokens"
            self._add(caller, day, most, 0)
        return most, ""

    def _read(self, caller: Caller, day: str) -> tuple[int, int]:
        query = "select tokens, micros from spending where tenant = ? and subject = ? and day = ?"
        row = self._store.row(query, caller.tenant, caller.subject, day)
        return (row[0], row[1]) if row else (0, 0)

    def _add(self, caller: Caller, day: str, tokens: int, micros: int) -> None:
        self._store.change(
            "insert into spending (tenant, subject, day, tokens, micros) values (?, ?, ?, ?, ?) "
            "on conflict (tenant, subject, day) do update set tokens = spending.tokens + excluded.tokens, "
            "micros = spending.micros + excluded.micros",
            *(caller.tenant, caller.subject, day, tokens, micros),
        )


async def _asked(answer: Any) -> Any:
    """What Redis answers.

    Raises:
        UnreachableError: it does not.
    """
    from redis.exceptions import RedisError

    try:
        return await answer
    except (RedisError, OSError, TimeoutError) as e:
        raise UnreachableError(f"Redis does not count ({type(e).__name__}).") from e


def _key(caller: Caller, day: str) -> str:
    whose = hashlib.sha256(f"{len(caller.tenant)}:{caller.tenant}{caller.subject}".encode("utf-8", "surrogatepass"))
    return f"workbench:{{{whose.hexdigest()[:32]}}}:spending:{day}"


def _cents(dollars: float) -> int:
    """Whole cents; a limit below one cent is a limit, too, and never becomes none."""
    return max(1, round(dollars * 100)) if dollars else 0


def _tighter(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other
