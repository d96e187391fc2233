"""A real Open Policy Agent behind its REST API: the same input and the same agreed answer as of the engine here.

`POST /v1/data/workbench/<package>/decision` (Data API, "Get a Document with Input"). The rules are those that OPA was
given; load the shipped ones, or your own with the same answer. Whatever is late, undefined or broken is `Broken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from workbench.control.circuit_breaker import CircuitBreaker
from workbench.events import JSON, MisuseError
from workbench.policy.rego import rego_engine, rego_guard

if TYPE_CHECKING:
    import aiohttp

NAME = "opa"
TIMEOUT_S = 0.25
"""Seconds for one decision, connecting included."""
LIST_TIMEOUT_S = 5.0
"""Seconds for the decisions of a whole list."""
MAX_BYTES = 1 << 20
"""Largest answer that is read."""
MANY = (
    "caller := input.caller; answers := {i: decision | some i, tool in input.tools; "
    'one := {"caller": caller, "tool": tool}; decision := data.workbench.tool_scopes.decision with input as one}'
)
"""The query that asks for many decisions: the rule is the one that decides calls, asked with the input of a call."""
_MAX_CONNECTIONS = 64


class OpaError(rego_engine.BrokenPolicyError):
    """OPA gave no answer that may be trusted. The message reaches callers, so it does not say where OPA is.

    Args:
        kind: `unreachable`, `timeout`, `status`, `breaker_open`, `undefined` or `malformed`; ends the name of the rule.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message, kind)


class OpaClient:
    """One OPA server. Connections are kept open; belongs to the event loop that first asks.

    Args:
        url: base URL, e.g. `http://127.0.0.1:8181`.
        token: sent as a bearer token when there is one.
        breaker: ends waiting for a server that does not answer.

    Raises:
        MisuseError: the URL is no http(s) URL, or holds a password.
    """

    def __init__(
        self, url: str, token: str = "", *, timeout: float = TIMEOUT_S, breaker: CircuitBreaker | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise MisuseError(f"Setting opa_url is {url!r}.", hint="Expected a URL such as http://127.0.0.1:8181.")
        if parts.username or parts.password:
            raise MisuseError(
                "Setting opa_url holds a user or a password.", hint="Put the token into WORKBENCH_OPA_TOKEN."
            )
        self.url = url.rstrip("/")
        self.breaker = breaker or CircuitBreaker()
        self.problem = ""
        """What went wrong last; empty when the last question was answered."""
        self._token = token
        self._timeout = timeout
        self._http: aiohttp.ClientSession | None = None

    async def ask(self, entrypoint: str, document: JSON) -> tuple[JSON, str]:
        """The decision document for one input, and the revision of the rules that gave it.

        Args:
            entrypoint: one of `engine.ENTRYPOINTS`.
            document: the closed input; every field is present.

        Raises:
            OpaError: no answer, or one that is not exactly of the agreed form.
        """
        try:
            body = orjson.dumps({"input": rego_guard.checked(document)})
        except (rego_guard.UnsuitableValueError, TypeError) as e:
            raise OpaError("malformed", f"the input cannot be sent: {e}") from e
        answer = await self._answer(f"/v1/data/{entrypoint}?provenance=true", body, self._timeout)
        try:
            if "result" not in answer:
                raise OpaError("undefined", f"OPA has no rule {entrypoint.replace('/', '.')}")
            try:
                agreed = rego_engine.as_agreed(entrypoint, answer["result"])
            except rego_engine.BrokenPolicyError as e:
                raise OpaError("malformed", f"OPA: {e}") from e
        except OpaError as e:
            self.problem = f"{e} ({self.url})."
            raise
        self.problem = ""
        return agreed, _revision(answer)

    async def ask_many(self, documents: Sequence[JSON]) -> list[JSON | None]:
        """The decisions of `engine.TOOL_SCOPES` for inputs that differ in their tool alone; None where there is none.

        One ad-hoc query (Query API, "Execute an Ad-hoc Query") with the rule and the inputs of single questions.

        Raises:
            OpaError: no answer at all, or not one of that form.
        """
        if not documents:
            return []
        try:
            tools = [rego_guard.checked(document)["tool"] for document in documents]
            body = orjson.dumps({"query": MANY, "input": {"caller": documents[0]["caller"], "tools": tools}})
        except (rego_guard.UnsuitableValueError, TypeError) as e:
            raise OpaError("malformed", f"the input cannot be sent: {e}") from e
        answer = await self._answer("/v1/query", body, LIST_TIMEOUT_S)
        try:
            answers = answer["result"][0]["answers"]
            found: list[JSON | None] = [answers.get(str(number)) for number in range(len(documents))]
        except (KeyError, IndexError, TypeError, AttributeError) as e:
            self.problem = f"OPA does not answer queries about lists ({self.url})."
            raise OpaError("malformed", "OPA does not answer queries about lists") from e
        self.problem = ""
        return [_agreed_or_none(each) for each in found]

    async def _answer(self, path: str, body: bytes, timeout: float) -> JSON:
        """What OPA answers, unless it is left alone for a moment."""
        if not self.breaker.admit():
            raise OpaError("breaker_open", "OPA has failed repeatedly and is not asked for a moment")
        try:
            answer = await self._post(path, body, timeout)
        except OpaError as e:
            self.breaker.failed()
            self.problem = f"{e} ({self.url})."
            raise
        except BaseException:
            self.breaker.released()
            raise
        self.breaker.succeeded()
        return answer

    async def probe(self) -> str:
        """What keeps this OPA from deciding; empty when every entry point answers as agreed."""
        for entrypoint, document in rego_engine.PROBES.items():
            try:
                await self.ask(entrypoint, document)
            except OpaError as e:
                return f"{e} ({self.url})."
        return ""

    async def close(self) -> None:
        """Close the connections; asking again opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def _post(self, path: str, body: bytes, timeout: float) -> JSON:
        import aiohttp

        try:
            async with self._session().post(
                self.url + path, data=body, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=timeout)
            ) as response:
                text = await response.content.read(MAX_BYTES + 1)
                while len(text) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
                    text += more
                if response.status != 200:
                    raise OpaError("status", f"OPA answered with HTTP status {response.status}")
        except TimeoutError as e:
            raise OpaError("timeout", f"OPA did not answer within {timeout * 1000:.0f} ms") from e
        except (aiohttp.ClientError, OSError) as e:
            raise OpaError("unreachable", f"OPA cannot be reached ({type(e).__name__})") from e
        try:
            if len(text) > MAX_BYTES:
                raise ValueError("too long")
            answer = orjson.loads(text)
        except ValueError as e:
            raise OpaError("malformed", "OPA answered with something else than JSON") from e
        if not isinstance(answer, dict):
            raise OpaError("malformed", "OPA answered with no object")
        return answer

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None or self._http.closed:
            import aiohttp

            headers = {"Content-Type": "application/json"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=30.0),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._http


def _agreed_or_none(answer: Any) -> JSON | None:
    try:
        return rego_engine.as_agreed(rego_engine.TOOL_SCOPES, answer)
    except rego_engine.BrokenPolicyError:
        return None


def _revision(answer: JSON) -> str:
    """Revisions of the bundles that OPA has loaded, else its own version."""
    provenance = answer.get("provenance")
    if not isinstance(provenance, dict):
        return NAME
    bundles: Any = provenance.get("bundles")
    if isinstance(bundles, dict) and bundles:
        found = sorted(str(b.get("revision", "")) for b in bundles.values() if isinstance(b, dict))
        return ",".join(found)[:200] or NAME
    return f"opa-{str(provenance.get('version', ''))[:40]}"
