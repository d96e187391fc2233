"""Decisions by an OPA server: what is asked, what is believed, and that anything else is a denial."""

from __future__ import annotations

import asyncio
import functools
import random
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from workbench.config import Settings
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.events import JSON, Call, Caller, MisuseError, Tool
from workbench.policy import Policy
from workbench.policy.engines.embedded_engine import EmbeddedEngine
from workbench.policy.engines.opa_engine import OpaEngine
from workbench.policy.rego import engine_answer, rego_engine
from workbench.policy.rego.opa_client import OpaClient

change = msgspec.structs.replace


def call(caller: Caller, tool: Tool, **more: Any) -> Call:
    return Call(caller=caller, tool=tool.qualified, **more)


@functools.cache
def _shipped() -> rego_engine.RegoPolicy:
    return rego_engine.RegoPolicy(rego_engine.PolicyFiles(None).read(), "the package")


class Server:
    """Speaks HTTP on a socket; what it answers is up to the test."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, JSON, dict[str, str]]] = []
        self.connections = 0
        self.answer: Callable[[str, JSON], bytes | None] = lambda path, body: ok({"result": self.decide(path, body)})
        self.url = ""

    @staticmethod
    def decide(path: str, body: JSON) -> JSON:
        return _shipped().ask(path.partition("?")[0].removeprefix("/v1/data/"), body["input"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                path = line.split()[1].decode()
                headers = {}
                while (header := await reader.readline()).strip():
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
                self.requests.append((path, body, headers))
                answer = self.answer(path, body)
                if answer is None:
                    await reader.read()  # never: until the other side gives up
                    break
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


def ok(document: Any, status: str = "200 OK") -> bytes:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()


@pytest.fixture
async def remote(settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Policy]:
    monkeypatch.setenv("WORKBENCH_OPA_TOKEN", "opa-secret")
    policy = Policy(settings.replace(opa_url=server.url))
    yield policy
    await policy.disconnect()
    policy.close()


async def test_opa_is_asked_with_the_closed_input_and_its_answer_counts(
    remote: Policy, server: Server, employee: Caller, find: Tool
) -> None:
    decision = await remote.decide_async(call(employee, find), find)
    assert (decision.allow, decision.rule, decision.engine) == (True, "tool_scopes.allow", "opa")
    asked = {path: (body, headers) for path, body, headers in server.requests}
    body, headers = asked["/v1/data/workbench/tool_scopes/decision?provenance=true"]
    assert body == {"input": engine_answer.document(employee, find)}
    assert headers["authorization"] == "Bearer opa-secret"
    assert "/v1/data/workbench/tenant_quota/decision?provenance=true" in asked


async def test_connections_are_kept_and_quotas_asked_for_once_in_a_second(
    remote: Policy, server: Server, employee: Caller, find: Tool
) -> None:
    for _ in range(20):
        assert (await remote.decide_async(call(employee, find), find)).allow
    assert server.connections <= 2
    assert sum("tool_scopes" in path for path, _, _ in server.requests) == 20
    assert sum("tenant_quota" in path for path, _, _ in server.requests) < 20


async def test_opa_and_the_embedded_engine_give_the_same_decision(
    remote: Policy, policy: Policy, employee: Caller, owner: Caller, find: Tool, delete: Tool
) -> None:
    bad = change(find, scopes=("crm:read", "crm:write"))
    for caller in (employee, owner):
        for tool in (find, delete, bad, change(find, quarantined="changed")):
            for approved in (False, True):
                theirs = await remote.decide_async(call(caller, tool), tool, approved=approved)
                ours = policy.decide(call(caller, tool), tool, approved=approved)
                assert change(theirs, engine="", revision="", elapsed_us=0) == change(
                    ours, engine="", revision="", elapsed_us=0
                )


async def test_a_denial_by_opa_is_a_denial_whatever_the_embedded_rules_say(
    remote: Policy, server: Server, owner: Caller, find: Tool
) -> None:
    denial = {**Server.decide("/v1/data/" + rego_engine.TOOL_SCOPES, {"input": engine_answer.document(owner, find)})}
    denial |= {"allow": False, "rule": "weekend"}
    server.answer = lambda path, body: ok({"result": denial if "scopes" in path else Server.decide(path, body)})
    decision = await remote.decide_async(call(owner, find), find)
    assert (decision.allow, decision.rule) == (False, "tool_scopes.weekend")


async def test_a_quota_of_opa_holds(remote: Policy, server: Server, owner: Caller, find: Tool) -> None:
    quota = {"allow": True, "rule": "within_quota", "per_minute": 2}
    server.answer = lambda path, body: ok({"result": quota if "quota" in path else Server.decide(path, body)})
    used = []
    for _ in range(3):
        assert (await remote.decide_async(call(owner, find), find)).allow
        used.append(remote.limits.use(owner, find))
    assert used[:2] == [None, None]
    assert used[2] is not None
    assert (used[2].name, used[2].limit) == ("tool", 2)


def whole(path: str, body: JSON) -> JSON:
    return Server.decide(path, body)


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (lambda p, b: ok({}), "opa.undefined"),
        (lambda p, b: ok({"result": None}), "opa.malformed"),
        (lambda p, b: ok({"result": True}), "opa.malformed"),
        (lambda p, b: ok({"result": {**whole(p, b), "allow": "true"}}), "opa.malformed"),
        (lambda p, b: ok({"result": {**whole(p, b), "allow": 1}}), "opa.malformed"),
        (lambda p, b: ok({"result": {**whole(p, b), "more": 1}}), "opa.malformed"),
        (lambda p, b: ok({"result": {k: v for k, v in whole(p, b).items() if k != "rule"}}), "opa.malformed"),
        (lambda p, b: ok(b"no json"), "opa.malformed"),
        (lambda p, b: ok([1]), "opa.malformed"),
        (lambda p, b: ok(b" " * ((1 << 20) + 1)), "opa.malformed"),
        (lambda p, b: ok({"code": "internal_error"}, "500 Internal Server Error"), "opa.status"),
        (lambda p, b: ok({"code": "unauthorized"}, "401 Unauthorized"), "opa.status"),
        (lambda p, b: b"HTTP/1.1 302 Found\r\nLocation: /yes\r\nContent-Length: 0\r\n\r\n", "opa.status"),
        (lambda p, b: b"not http\r\n\r\n", "opa.unreachable"),
        (lambda p, b: None, "opa.timeout"),
    ],
    ids=range(15),
)
async def test_every_other_answer_is_a_denial_that_says_why(
    remote: Policy, server: Server, owner: Caller, find: Tool, answer: Any, rule: str
) -> None:
    server.answer = answer
    decision = await remote.decide_async(call(owner, find), find)
    assert (decision.allow, decision.rule, decision.engine) == (False, rule, "opa")
    assert remote.problem
    assert "opa-secret" not in decision.reason
    assert server.url in remote.problem
    assert server.url not in decision.reason


async def test_input_that_no_engine_reads_alike_is_denied_without_asking(
    remote: Policy, server: Server, owner: Caller, find: Tool
) -> None:
    nobody = change(owner, tenant="acme\0evil")
    assert (await remote.decide_async(call(nobody, find), find)).rule == "opa.malformed"
    assert not server.requests


async def test_after_failures_opa_is_left_alone_until_a_probe_succeeds(server: Server) -> None:
    now = [0.0]
    opa = OpaClient(server.url, breaker=CircuitBreaker(2, 1.0, clock=lambda: now[0]))
    working, server.answer = server.answer, lambda path, body: ok({}, "503 Service Unavailable")
    quota = rego_engine.PROBES[rego_engine.TENANT_QUOTA]
    kinds = []
    for _ in range(4):
        with pytest.raises(rego_engine.BrokenPolicyError) as failed:
            await opa.ask(rego_engine.TENANT_QUOTA, quota)
        kinds.append(failed.value.kind)  # type: ignore[attr-defined]
    assert kinds == ["status", "status", "breaker_open", "breaker_open"]
    assert len(server.requests) == 2
    server.answer, now[0] = working, 1.0
    assert (await opa.ask(rego_engine.TENANT_QUOTA, quota))[0]["allow"] is True
    assert opa.problem == ""
    await opa.close()


async def test_a_call_that_is_given_up_does_not_count_as_a_failure(server: Server) -> None:
    server.answer = lambda path, body: None
    opa = OpaClient(server.url, timeout=30.0, breaker=CircuitBreaker(1))
    asking = asyncio.create_task(opa.ask(rego_engine.TENANT_QUOTA, rego_engine.PROBES[rego_engine.TENANT_QUOTA]))
    async with asyncio.timeout(10):
        while not server.requests:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert opa.breaker.state == "closed"
    await opa.close()


async def test_nobody_listening_is_a_denial_and_shows_up_as_a_problem(
    settings: Settings, owner: Caller, find: Tool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        policy = Policy(settings.replace(opa_url=f"http://127.0.0.1:{free.getsockname()[1]}"))
        decision = await policy.decide_async(call(owner, find), find)
        assert (decision.allow, decision.rule) == (False, "opa.unreachable")
        assert "cannot be reached" in await policy.probe()
        policy.close()


@pytest.mark.parametrize("url", ["127.0.0.1:8181", "ftp://x", "http://", "http://u:p@x", "http://x?a=b", "http://x#y"])
def test_an_address_that_cannot_be_meant_is_refused_at_the_start(settings: Settings, url: str) -> None:
    with pytest.raises(MisuseError, match="opa_url"):
        Policy(settings.replace(opa_url=url))


async def test_without_an_opa_the_embedded_engine_decides(policy: Policy, owner: Caller, find: Tool) -> None:
    assert isinstance(policy.engine, EmbeddedEngine)
    assert (await policy.decide_async(call(owner, find), find)).engine == "embedded-rego"
    assert await policy.probe() == ""


# --- a real OPA ------------------------------------------------------------------------------------


@contextmanager
def running(binary: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [binary, "run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error", "--disable-telemetry",
         str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "opa ended"
                assert time.monotonic() < deadline, "opa does not answer"
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    for name, content in rego_engine.PolicyFiles(None).read().items():
        (folder / name).write_bytes(content)
    return folder


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def random_case(rng: random.Random) -> tuple[Caller, Tool]:
    words = ["crm", "crmx", "read", "write", "pii", "*", "a"]

    def scope() -> str:
        return rng.choice(["*", ":".join(rng.choice(words) for _ in range(rng.randint(1, 3)))])

    needed = tuple(scope() for _ in range(rng.choice([0, 1, 1, 2, 3])))
    held = {scope() for _ in range(rng.randint(0, 4))} | set(rng.sample(needed, rng.randint(0, len(needed))))
    caller = Caller(
        tenant=rng.choice(["acme", "acme", "acme", 'gl"obex', ""]),
        subject=rng.choice(["ann", "böb", "back\\slash", ""]),
        roles=("a",) * rng.randint(0, 2),
        scopes=frozenset(held),
    )
    hints = {"readOnlyHint": rng.choice([True, False]), "destructiveHint": rng.choice([True, False])}
    tool = Tool(
        server="crm",
        name=rng.choice(["find", "Ünï", 'quo"te']),
        scopes=needed,
        annotations={k: v for k, v in hints.items() if rng.random() < 0.6},
        quarantined=rng.choice(["", "", "", "changed"]),
    )
    return caller, tool


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
async def test_a_real_opa_and_the_embedded_engine_decide_thousands_of_inputs_alike(
    opa_binary: str, rules: Path, settings: Settings
) -> None:
    rng = random.Random(4)
    port = free_port()
    with running(opa_binary, rules, port):
        policy = Policy(settings.replace(opa_url=f"http://127.0.0.1:{port}"))
        assert isinstance(policy.engine, OpaEngine)
        policy.engine.client._timeout = 5.0  # what is compared is answers, on a machine that may be busy
        allowed = 0
        for _ in range(3000):
            caller, tool = random_case(rng)
            made = call(caller, tool)
            approved = rng.random() < 0.5
            theirs = await policy.decide_async(made, tool, approved=approved)
            ours = policy.decide_by_rules(made, tool, approved=approved)
            assert theirs.engine == "opa"
            assert theirs.revision.startswith("opa-1.")
            same = {"engine": "", "revision": "", "elapsed_us": 0}
            assert change(theirs, **same) == change(ours, **same), (caller, tool)
            allowed += theirs.allow
        assert 200 < allowed < 2800
        await policy.disconnect()
        policy.close()


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
async def test_killing_a_real_opa_denies_and_its_return_allows_again(
    opa_binary: str, rules: Path, settings: Settings, owner: Caller, find: Tool
) -> None:
    port = free_port()
    policy = Policy(settings.replace(opa_url=f"http://127.0.0.1:{port}"))
    assert isinstance(policy.engine, OpaEngine)
    policy.engine.client.breaker = CircuitBreaker(3, 0.05, 0.1)
    made = call(owner, find)

    async def until_allowed() -> None:
        async with asyncio.timeout(20):
            while not (await policy.decide_async(made, find)).allow:  # noqa: ASYNC110 - the pause of the breaker
                await asyncio.sleep(0.02)

    with running(opa_binary, rules, port) as process:
        await until_allowed()
        process.kill()
        process.wait()
        found = {(await policy.decide_async(made, find)).rule for _ in range(10)}
        assert found <= {"opa.unreachable", "opa.breaker_open", "opa.timeout"}
        assert policy.problem
    with running(opa_binary, rules, port):
        await until_allowed()
        assert policy.problem == ""
    await policy.disconnect()
    policy.close()


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
async def test_a_list_of_thousands_is_judged_by_the_rule_that_judges_calls_in_few_requests(
    opa_binary: str, rules: Path, settings: Settings
) -> None:
    rng = random.Random(5)
    callers = [random_case(rng)[0] for _ in range(4)]
    tools = [change(random_case(rng)[1], name=f"t{n}", definition_hash=f"d{n}") for n in range(2000)]
    # the rules here say something else, so that a list that was made by them would be noticed
    here = rules.parent / "here"
    here.mkdir()
    shipped = (rules / "tool_scopes.rego").read_text()
    (here / "tool_scopes.rego").write_text(shipped.replace("\tsatisfied\n", '\tinput.caller.tenant == "nobody"\n', 1))
    port = free_port()
    with running(opa_binary, rules, port):
        policy = Policy(settings.replace(opa_url=f"http://127.0.0.1:{port}", policy=here))
        assert isinstance(policy.engine, OpaEngine)
        policy.engine.client._timeout = 5.0
        sent: list[str] = []
        post = policy.engine.client._post

        async def counted(path: str, body: bytes, timeout: float) -> JSON:
            sent.append(path)
            return await post(path, body, timeout)

        policy.engine.client._post = counted  # type: ignore[method-assign]
        for caller in callers:
            assert not any(policy.visible(caller, tool) for tool in tools), "nothing is visible before OPA was asked"
            await policy.prefetch(caller, tools)
        assert sent == ["/v1/query"] * 8
        await policy.prefetch(callers[0], tools)
        assert len(sent) == 8, "asked a moment ago"
        shown = 0
        for caller in callers:
            for tool in rng.sample(tools, 100):
                decision = await policy.decide_async(call(caller, tool), tool, approved=True)
                assert policy.visible(caller, tool) is decision.allow, (caller, tool)
                shown += decision.allow
        assert 20 < shown < 380
        await policy.disconnect()
        policy.close()


def put_rules(port: int, rego: str) -> None:
    """Give a running OPA another `tool_scopes.rego`."""
    there = f"http://127.0.0.1:{port}/v1/policies"
    with urllib.request.urlopen(there, timeout=5) as answer:
        ids = [each["id"] for each in orjson.loads(answer.read())["result"]]
    name = next(id for id in ids if id.endswith("tool_scopes.rego"))
    urllib.request.urlopen(urllib.request.Request(f"{there}/{name}", rego.encode(), method="PUT"), timeout=5).close()


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
async def test_a_changed_rule_shows_in_lists_and_a_dead_opa_shows_nothing(
    opa_binary: str, rules: Path, settings: Settings, owner: Caller, find: Tool, delete: Tool
) -> None:
    from workbench.policy.rego import opa_visibility_cache

    port, now = free_port(), 1000.0
    with running(opa_binary, rules, port) as process:
        policy = Policy(settings.replace(opa_url=f"http://127.0.0.1:{port}"))
        assert isinstance(policy.engine, OpaEngine)
        policy.engine.lists._clock = lambda: now
        await policy.prefetch(owner, [find, delete])
        assert (policy.visible(owner, find), policy.visible(owner, delete)) == (True, True)
        version = policy.visibility_version(owner)
        changed = (
            (rules / "tool_scopes.rego").read_text().replace("\tnot quarantined\n}", "\tinput.tool.read_only\n}", 1)
        )
        await asyncio.to_thread(put_rules, port, changed)
        await policy.prefetch(owner, [find, delete])
        assert policy.visibility_version(owner) == version, "asked a moment ago"
        now += opa_visibility_cache.FRESH_S
        await policy.prefetch(owner, [find, delete])
        assert policy.visibility_version(owner) != version
        assert (policy.visible(owner, find), policy.visible(owner, delete)) == (True, False)
        process.kill()
        process.wait()
        now += opa_visibility_cache.FRESH_S
        await policy.prefetch(owner, [find, delete])
        assert (policy.visible(owner, find), policy.visible(owner, delete)) == (False, False)
        assert "cannot be reached" in policy.problem
        await policy.disconnect()
        policy.close()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"result": []},
        {"result": [{"answers": []}]},
        {"result": [{"answers": {"0": True}}]},
        {"result": [{"x": {}}]},
    ],
)
async def test_a_list_that_is_not_answered_as_agreed_is_empty(
    remote: Policy, server: Server, owner: Caller, find: Tool, answer: JSON
) -> None:
    server.answer = lambda path, body: ok(answer)
    await remote.prefetch(owner, [find])
    assert not remote.visible(owner, find)


async def test_where_the_engine_here_decides_lists_need_no_prefetch(policy: Policy, owner: Caller, find: Tool) -> None:
    await policy.prefetch(owner, [find])
    assert policy.visible(owner, find)
    assert policy.visibility_version(owner) == policy.revision
