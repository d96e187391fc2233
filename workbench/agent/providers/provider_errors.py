"""How a provider fails, in one vocabulary: what happened, and what to do about it."""

from __future__ import annotations

import json
import re
from types import TracebackType

from workbench.agent.provider import ProviderError, ProviderErrorKind

_TOO_LONG = re.compile(
    r"context.?length|context window|prompt is too long|maximum context|input token count|too many (input )?tokens"
    r"|exceeds? the (maximum|limit).{0,40}token|request_too_large|exceed_context_size",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING_LEFT = re.compile(
    r"insufficient_quota|credit balance|billing_error|exceeded your current quota", re.IGNORECASE
)
_BAD_KEY = re.compile(r"api.?key.{0,20}(not valid|invalid|incorrect)|API_KEY_INVALID|incorrect api key", re.IGNORECASE)

_HINTS: dict[ProviderErrorKind, str] = {
    "no_key": "Set {key}, or choose another provider (`workbench doctor` lists them).",
    "unauthorized": "Check {key} and what it is allowed to use.",
    "rate_limited": "Wait a little and ask again, or choose another provider.",
    "quota": "Look at the plan and billing of that account, or choose another provider.",
    "unreachable": "Check the network and the base URL, or choose a provider in this process (embedded, planner).",
    "timeout": "Ask again, or raise the setting run_timeout.",
    "overloaded": "The provider has a problem of its own; wait a little and ask again.",
    "cut": "Nothing of the turn was used. Ask again.",
    "context": "Ask for less at once, begin a new conversation, or choose a model that reads more.",
    "refused": "Put the question differently.",
    "bad_request": "Check the model's name and base URL; if they are right, this is a fault of the adapter.",
    "unknown_model": "Name another with --model, or change it in models.toml.",
    "not_installed": "Install it with `pip install {key}`.",
}


def fault(kind: ProviderErrorKind, provider: str, message: str, *, key: str = "the key") -> ProviderError:
    """The error of `kind`, with what to do next."""
    text = " ".join(message.split())[:600]
    return ProviderError(kind, f"{provider}: {text}", hint=_HINTS[kind].format(key=key))


def fault_of_status(status: int, provider: str, message: str, *, code: str = "", key: str = "the key") -> ProviderError:
    """The error that an HTTP status and a body tell of (after the retries)."""
    told = f"{code} {message}"
    kind: ProviderErrorKind
    if _NOTHING_LEFT.search(told) or status == 402:
        kind = "quota"
    elif status == 401 or status == 403 or _BAD_KEY.search(told):
        kind = "unauthorized"
    elif status == 429:
        kind = "rate_limited"
    elif _TOO_LONG.search(told) or status == 413:
        kind = "context"
    elif status == 404:
        kind = "unknown_model"
    elif status in (408, 504):
        kind = "timeout"
    elif status >= 500:
        kind = "overloaded"
    else:
        kind = "bad_request"
    return fault(kind, provider, f"HTTP {status}: {message}", key=key)


class ProviderErrorTranslator:
    """Turns what an SDK raises inside the block into `ProviderError`; everything else passes.

    Args:
        sdk: the base class of the SDK's errors. Status errors have `status_code` or `code`, and `message`.
    """

    def __init__(self, provider: str, *, key: str, sdk: type[Exception]) -> None:
        self._provider = provider
        self._key = key
        self._sdk = sdk
        self.streaming = False
        """Whether the answer has begun: a lost connection then means a cut turn."""

    def __enter__(self) -> ProviderErrorTranslator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        translated = error if isinstance(error, ProviderError) else self._translate(error) if error else None
        if translated is None:
            return
        translated.again = translated.again or (self.streaming and translated.kind == "overloaded")
        if translated is not error:
            raise translated from error

    def _translate(self, error: BaseException) -> ProviderError | None:
        import httpx2

        name = type(error).__name__
        if isinstance(error, httpx2.TimeoutException) or (isinstance(error, self._sdk) and "Timeout" in name):
            return fault("timeout", self._provider, "no answer in time.")
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        if isinstance(error, self._sdk) and isinstance(status, int):
            # An error in the middle of a stream carries the stream's own status, 200.
            code = str(getattr(error, "type", "") or getattr(error, "status", "") or "")
            status = status if status >= 400 else _status_of(f"{code} {error}")
            message = str(getattr(error, "message", None) or error)
            return fault_of_status(status, self._provider, message, code=_code(error), key=self._key)
        if isinstance(error, httpx2.HTTPError | self._sdk) and ("Connection" in name or self._lost(error)):
            if self.streaming:
                return fault("cut", self._provider, f"the connection was lost in the middle of a turn ({error}).")
            return fault("unreachable", self._provider, f"no connection ({error.__cause__ or error}).")
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) or name == "UnknownApiResponseError":
            return fault("cut", self._provider, f"sent something that is not JSON ({error}).")
        misfit = isinstance(error, LookupError | TypeError | AttributeError | ValueError)
        if (misfit and self.streaming) or name == "ValidationError":
            told = f"sent something that does not fit its own interface ({name}: {error})."
            return fault("cut", self._provider, told)
        if isinstance(error, self._sdk):
            return fault_of_status(_status_of(f"{_code(error)} {error}"), self._provider, str(error), key=self._key)
        return None

    @staticmethod
    def _lost(error: BaseException) -> bool:
        import httpx2

        return isinstance(error, httpx2.TransportError)


def _code(error: BaseException) -> str:
    """The provider's own name of the error, wherever the SDK keeps it."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    told = [getattr(error, "type", ""), getattr(error, "status", ""), getattr(error, "code", "")]
    if isinstance(inner, dict):
        told += [inner.get("type"), inner.get("code")]
    return " ".join(str(part) for part in told if part)


def _status_of(told: str) -> int:
    """A status for an error that came inside a stream, by its name."""
    for name, status in (
        ("overloaded", 529),
        ("rate_limit", 429),
        ("authentication", 401),
        ("permission", 403),
        ("not_found", 404),
        ("invalid_request", 400),
        ("timeout", 504),
    ):
        if name in told:
            return status
    return 500
