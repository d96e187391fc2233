"""Plays the cases of `mcp-defense-bench` through a real gateway under shipped settings, and reports what it did.

Each input gets a gateway with a state folder of its own, and servers over HTTP that list and answer what the case says.
Whoever calls has scopes for all tools and the role `employee`, so that credentials in results are withheld as from any
caller without `pii:read`. Nothing here looks for words of the cases: a verdict is read off the gateway's answers.

- stopped: a tool is quarantined or left out; a call is refused or waits for a human; a credential does not arrive; a
  request, token, address or state is not accepted.
- noticed: the call goes on, and a sign is recorded or a note is shown.
- Personal data that a column rule withholds counts neither as stopped nor as alarm: it says nothing about attacks.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from servers.files.server import build
from servers.files.tree import Tree
from tests.gateway.conftest import Browser, served
from tests.interop.scripted_server import MODERN, ScriptedServer
from workbench.access.access_tokens import AccessTokenVerifier
from workbench.access.audiences import ProtectedResources
from workbench.config import Settings, prepare_home
from workbench.events import MisuseError, UnauthenticatedError
from workbench.policy.redaction.secret_patterns import SECRET
from workbench.registry.configuration.mcp_json import read_configuration
from workbench.registry.registration import registration
from workbench.testing import GatewayHarness

Fixture = Mapping[str, Any]
OWN_PAGE = "http://localhost:7000"
OF_ONE = "/servers/one/mcp"
TASKS = "io.modelcontextprotocol/tasks"
CAN_ANSWER = {
    "io.modelcontextprotocol/clientCapabilities": {
        "elicitation": {"form": {}},
        "sampling": {},
        "extensions": {TASKS: {}},
    }
}


def verdict(stopped: str = "", noticed: str = "") -> dict[str, Any]:
    return {"detect": bool(stopped or noticed), "enforce": bool(stopped), "signal": stopped or noticed or "passed"}


class Defense:
    """The adapter: `assess` plays one input.

    Args:
        delegation: with what a case says of delegation in `oauth_actors` and `oauth_max_lifetime`, which are not set
            as shipped.
    """

    def __init__(self, *, delegation: bool = False) -> None:
        self._delegation = delegation
        self._play: dict[str, Callable[[Fixture], Awaitable[dict[str, Any]]]] = {
            "malicious-tool-definition": self.definition,
            "benign-tool-definition": self.definition,
            "multi-server-registry": self.several_servers,
            "definition-change": self.change,
            "cache-invalidation": self.cache,
            "list-result": self.list_result,
            "tool-call": self.tool_call,
            "tool-call-sequence": self.sequence,
            "malicious-tool-result": self.result,
            "benign-tool-result": self.result,
            "input-required-result": self.question,
            "mrtr-retry": self.retry,
            "http-request": self.http_request,
            "http-request-sequence": self.http_sequence,
            "task-lifecycle": self.task,
            "scenario": self.scenario,
            "server-identity": self.identity,
            "delegated-request": self.token,
        }
        self.meta = {
            "tool": "mcp-workbench", "class": "gateway", "reproducible": True, "fixtureTypes": list(self._play),
        }  # fmt: skip

    async def assess(self, input: Fixture, testcase: Fixture) -> dict[str, Any]:
        return await self._play[input["type"]](input)

    # --- what servers list

    async def definition(self, fixture: Fixture) -> dict[str, Any]:
        async with gateway({"one": [fixture["tool"]]}) as (house, _):
            return await listed(house)

    async def several_servers(self, fixture: Fixture) -> dict[str, Any]:
        servers = {one["server"]: one["tools"] for one in fixture["servers"]}
        async with gateway(servers) as (house, _):
            return await listed(house)

    async def change(self, fixture: Fixture) -> dict[str, Any]:
        return await self._relisted([fixture["before"]], [fixture["after"]])

    async def cache(self, fixture: Fixture) -> dict[str, Any]:
        return await self._relisted(fixture["cached"]["result"]["tools"], fixture["upstreamNow"]["tools"])

    async def list_result(self, fixture: Fixture) -> dict[str, Any]:
        """The list as the server gives it, read by somebody who may call its first tool alone and by the owner."""
        tools = fixture["result"]["tools"]
        async with gateway({"one": tools}) as (house, _):
            found = await listed(house)
            if found["detect"] or fixture["result"].get("cacheScope") != "public" or not fixture.get("authenticated"):
                return found
            answer = (await client(house).modern("tools/list")).json["result"]
            return verdict("the list is passed on as private" if answer.get("cacheScope") == "private" else "")

    async def _relisted(self, before: list[Any], after: list[Any]) -> dict[str, Any]:
        async with gateway({"one": before}) as (house, servers):
            first = await listed(house)
            if first["detect"]:
                return first
            servers["one"].tools = after
            await house.registry.restart("one")
            return await listed(house)

    # --- calls and results

    async def tool_call(self, fixture: Fixture) -> dict[str, Any]:
        if "configuredBoundary" in fixture:
            return await self._read_file(fixture["configuredBoundary"], fixture["call"]["arguments"]["path"])
        async with gateway({"one": [fixture["tool"]]}) as (house, servers):
            return await called(house, servers, "one", fixture["call"])

    async def sequence(self, fixture: Fixture) -> dict[str, Any]:
        """All calls in one session; the result of one stands in the next where the case says so."""
        calls = fixture["calls"]
        servers: dict[str, list[Any]] = {}
        for one in calls:
            tools = servers.setdefault(one.get("server", "one"), [])
            if one["name"] not in [tool["name"] for tool in tools]:
                tools.append({"name": one["name"]})
        results = {one["name"]: one["result"] for one in calls if "result" in one}
        async with gateway(servers, results) as (house, running):
            previous, noticed = "", ""
            for one in calls:
                given = {
                    key: value.replace("{{result_of_previous}}", previous) if isinstance(value, str) else value
                    for key, value in one["arguments"].items()
                }
                found = await called(house, running, one.get("server", "one"), {**one, "arguments": given})
                if found["enforce"]:
                    return found
                noticed, previous = noticed or (found["signal"] if found["detect"] else ""), "done"
            return verdict(noticed=noticed)

    async def result(self, fixture: Fixture) -> dict[str, Any]:
        tool = fixture["tool"]
        call = fixture.get("call") or {"name": tool["name"], "arguments": {}}
        schema = tool.get("inputSchema", {})
        given = dict.fromkeys(schema.get("required", ()), "https://pages.example/x") | call.get("arguments", {})
        async with gateway({"one": [tool]}, {tool["name"]: fixture["result"]}) as (house, servers):
            return await called(house, servers, "one", {"name": tool["name"], "arguments": given})

    async def question(self, fixture: Fixture) -> dict[str, Any]:
        params = fixture["onRequest"]["params"]
        results = {params["name"]: fixture["result"]}
        async with gateway({"one": [{"name": params["name"]}]}, results, modern=True) as (house, servers):
            return await called(house, servers, "one", params)

    async def retry(self, fixture: Fixture) -> dict[str, Any]:
        """The server's state, taken from one round into the next as the case says: altered, or by somebody else."""
        ask = {"method": "elicitation/create", "params": {"mode": "form", "message": "Go on?", "requestedSchema": {
            "type": "object", "properties": {"confirm": {"type": "boolean"}}}}}  # fmt: skip
        issued = fixture.get("issued") or {
            "resultType": "input_required", "inputRequests": {"q": ask}, "requestState": fixture["requestState"],
        }  # fmt: skip
        second = fixture.get("tamperedRetry", {}).get("params") or {"name": fixture["replayRequest"]["name"]}
        altered = "issued" in fixture and second["requestState"] != issued["requestState"]
        other = "replayedBy" in fixture and fixture["replayedBy"]["principal"] != fixture["issuedTo"]["principal"]
        async with gateway({"one": [{"name": second["name"]}]}, {second["name"]: issued}, modern=True) as (house, _):
            call = {"name": f"one.{second['name']}", "arguments": second.get("arguments", {})}
            first = (await client(house).modern("tools/call", call, meta=CAN_ANSWER)).json["result"]
            state = second["requestState"] if altered else first["requestState"]
            answers = {key: {"action": "accept", "content": {"confirm": True}} for key in first["inputRequests"]}
            again = {**call, "inputResponses": answers, "requestState": state}
            who = client(house, "mallory") if other else client(house)
            answer = (await who.modern("tools/call", again, meta=CAN_ANSWER)).json
            return verdict("the state is not accepted" if "error" in answer else "")

    async def task(self, fixture: Fixture) -> dict[str, Any]:
        """A task of the first principal, asked for by the probing one: by the server's id or by its own."""
        owner, probe = fixture["issued"][0], fixture["probe"]
        mine = probe["principal"] == owner["principal"]
        result = {"resultType": "task", "taskId": probe["params"]["taskId"], "status": "working"}
        async with gateway({"one": [{"name": "work"}]}, {"work": result}, modern=True) as (house, _):
            first = client(house, owner["principal"])
            begun = await first.modern("tools/call", {"name": "one.work", "arguments": {}}, meta=CAN_ANSWER)
            id = begun.json["result"]["taskId"] if mine else probe["params"]["taskId"]
            who = first if mine else client(house, probe["principal"])
            answer = await who.modern(probe["method"], {"taskId": id}, headers={"mcp-name": id}, meta=CAN_ANSWER)
            return verdict("there is no such task for this caller" if "error" in answer.json else "")

    async def identity(self, fixture: Fixture) -> dict[str, Any]:
        """A server that is known and then said to be somewhere else: a name can be registered for one address alone."""
        if fixture["mode"] != "change" or fixture["before"]["endpoint"] == fixture["after"]["endpoint"]:
            return verdict()
        async with gateway({"one": [{"name": "pay"}]}) as (house, _):
            try:
                await house.registry.add(registration({"id": "one", "url": fixture["after"]["endpoint"]}))
            except MisuseError as e:
                return verdict(str(e))
            return verdict()

    # --- requests as they stand

    async def http_request(self, fixture: Fixture) -> dict[str, Any]:
        task = fixture["body"]["params"].get("taskId")
        tools, _ = named_in([fixture["body"]])
        if task is None:
            async with gateway(tools, modern=True) as (house, _):
                return await sent(house, fixture)
        result = {"resultType": "task", "taskId": task, "status": "working"}
        async with gateway({"one": [{"name": "work"}]}, {"work": result}, modern=True) as (house, _):
            who = client(house)
            begun = await who.modern("tools/call", {"name": "one.work", "arguments": {}}, meta=CAN_ANSWER)
            known = begun.json["result"]["taskId"]  # the ids of the case, as this gateway gives them out
            return await sent(house, json.loads(json.dumps(dict(fixture)).replace(task, known)), who)

    async def http_sequence(self, fixture: Fixture) -> dict[str, Any]:
        requests = fixture["requests"]
        async with gateway(*named_in([r["body"] for r in requests if "body" in r]), modern=True) as (house, _):
            found = [await sent(house, request) for request in requests]
            refused = [each["signal"] for each in found if each["enforce"]]
            return verdict("; ".join(refused) if len(refused) == len(found) else "", "; ".join(refused))

    async def scenario(self, fixture: Fixture) -> dict[str, Any]:
        """A request with `Host` and `Origin`; an address to register; a path for a server that has one folder."""
        if "request" in fixture:
            # the cases speak of an allowlist of pages; the one that they let through is on it for all of them
            more = {"port": fixture["request"]["host"].rpartition(":")[2], "allowed_origins": (OWN_PAGE,)}
            async with gateway({}, **more) as (house, _):
                headers = {"host": fixture["request"]["host"], "origin": fixture["request"].get("origin")}
                answer = await client(house).modern("tools/list", headers=headers)
                return verdict(f"HTTP {answer.status}" if answer.status >= 400 else "")
        if "action" in fixture:
            return await self._read_file("/workspace", fixture["action"]["arguments"]["input"])
        words = fixture.get("endpoint") or next(
            (word.strip(".,()") for word in fixture["setup"].split() if "://" in word), ""
        )
        return configured(words) if words else verdict()

    async def _read_file(self, boundary: str, path: str) -> dict[str, Any]:
        """The bundled files server over a folder that stands for the boundary, with the file in it or beside it."""
        async with AsyncExitStack() as stack:
            top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            root = top / boundary.lstrip("/")
            root.mkdir(parents=True)
            inside = Path(path).is_relative_to(boundary)
            wanted = str(Path(path).relative_to(boundary)) if inside else path.removeprefix("./")
            target = root / wanted if not wanted.startswith("/") else top / wanted.lstrip("/")
            target.resolve().parent.mkdir(parents=True, exist_ok=True)
            if target.resolve().is_relative_to(top):
                target.resolve().write_text("what stands in the file")
            house = await stack.enter_async_context(opened({"files": build(Tree(root))}))
            answer = (await client(house).modern(
                "tools/call", {"name": "files.read_file", "arguments": {"path": wanted}}
            )).json["result"]  # fmt: skip
            return verdict("the file is not read" if answer.get("isError") else "")

    # --- tokens

    async def token(self, fixture: Fixture) -> dict[str, Any]:
        """Each token of the request at the gateway of the service that its header is for, at the time of the case.

        Where a case says nothing of keys, its claims are signed by the issuer that this gateway trusts: what such a
        case is about is what they say.
        """
        trust, target = fixture["trust"], fixture["request"]["target"]
        issuer = trust.get("issuer", "https://idp.travel.test")
        ours = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"}, private=True)
        keys = trust["jwks"]["keys"] if trust["mode"] == "signature" else [ours.as_dict(private=False)]
        headers, upstreams = fixture["request"]["headers"], fixture["upstreams"]
        for name in [target, *(each for each in upstreams if each != target)]:
            given = headers.get(upstreams[name]["incomingHeader"])
            if given is None:
                continue
            if trust["mode"] != "signature":
                claims = jws.extract_compact(given.encode()).payload
                given = jws.serialize_compact({"alg": "ES256", "kid": "k1", "typ": "JWT"}, claims, ours)
            with tempfile.TemporaryDirectory() as home:
                policy = fixture["policy"]
                limits = {
                    "oauth_actors": tuple(policy["allowedActors"]), "oauth_max_lifetime": policy["maxLifetimeSeconds"],
                }  # fmt: skip
                settings = Settings.load(
                    env={}, cwd=Path(home), home=Path(home) / "home", oauth_issuers=(issuer,),
                    oauth_audiences=(upstreams[name]["audience"],), oauth_token_types=("JWT", "at+jwt"),
                    **(limits if self._delegation else {}),
                )  # fmt: skip
                now = fixture["now"] * 1_000_000
                tokens = AccessTokenVerifier(
                    settings, ProtectedResources(settings), clock=lambda now=now: now, fetcher=_Published(keys)
                )
                try:
                    await tokens.verify(given)
                except UnauthenticatedError as e:
                    return verdict(f"the token for {name}: {e}")
        return verdict()


class _Published:
    """The documents of an issuer, without the network."""

    def __init__(self, keys: list[Any]) -> None:
        self._keys = keys

    async def get(self, url: str, **_: Any) -> Any:
        if url.endswith("/jwks"):
            return {"keys": self._keys}
        issuer = url.partition("/.well-known/")[0]
        return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}


# --- the gateway, and what is asked of it ------------------------------------------------------------------


@asynccontextmanager
async def opened(servers: Mapping[str, Any], **more: Any) -> AsyncIterator[GatewayHarness]:
    """A gateway under shipped settings over servers: URLs, or servers in this process."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings.load(env={}, cwd=folder, home=folder / "home", **{"port": "8800", **more})
        prepare_home(settings.home)
        policies = settings.home / "policy"
        policies.mkdir()
        scopes = json.dumps(["servers:read", *(f"{id}:*" for id in servers)])
        shipped = (resources.files("workbench.access") / "roles.toml").read_text("utf-8")
        caller = f'[caller]\ndescription = "Calls every tool."\nscopes = {scopes}\n'
        (policies / "roles.toml").write_text(f"{shipped}\n{caller}")
        yield await stack.enter_async_context(GatewayHarness(servers, base=settings))


@asynccontextmanager
async def gateway(
    servers: Mapping[str, list[Any]], results: dict[str, Any] | None = None, *, modern: bool = False, **more: Any
) -> AsyncIterator[tuple[GatewayHarness, dict[str, ScriptedServer]]]:
    """A gateway over servers that list these tools and answer with these results."""
    async with AsyncExitStack() as stack:
        running, urls = {}, {}
        for name, tools in servers.items():
            running[name] = ScriptedServer(tools, results, modern=modern)
            url, _ = await stack.enter_async_context(served(running[name]))
            urls[name] = f"{url}/mcp"
        yield await stack.enter_async_context(opened(urls, **more)), running


def client(house: GatewayHarness, subject: str = "ann") -> Browser:
    """Somebody who may call every tool here, without leave to see personal data."""
    return Browser(house, token=house.access.create_key(subject, roles=("caller",))[1])


async def listed(house: GatewayHarness) -> dict[str, Any]:
    """Whether a tool is held back, left out, or noted."""
    tools = house.registry.tools()
    held = [f"{tool.qualified}: {tool.quarantined}" for tool in tools if tool.quarantined]
    left = [f"{name}: {why}" for name, why in house.registry.refused().items()] if not held else []
    return verdict("; ".join(held + left))


async def called(
    house: GatewayHarness, servers: Mapping[str, ScriptedServer], server: str, call: Fixture
) -> dict[str, Any]:
    """One call, and whether it was stopped, its result withheld, or a sign noticed."""
    if (found := await listed(house))["detect"]:
        return found
    before = len(servers[server].called)
    request = {"name": f"{server}.{call['name']}", "arguments": call.get("arguments", {})}
    result = (await client(house).modern("tools/call", request, meta=CAN_ANSWER)).json
    if "error" in result:
        return verdict(f"refused: {result['error']['message']}")
    answer = result["result"]
    outcome = (answer.get("_meta") or {}).get("workbench/outcome") or {}
    if len(servers[server].called) == before:
        return verdict(f"refused: {json.dumps(answer)[:300]}")
    if outcome.get("kind", "ok") not in ("ok", "tool_error"):
        return verdict(f"{outcome['kind']}: {json.dumps(answer)[:300]}")
    if SECRET in json.dumps(answer, ensure_ascii=False):
        return verdict("a credential in the result is withheld")
    signs = ((answer.get("_meta") or {}).get("workbench/source") or {}).get("signals")
    return verdict(noticed=f"signs: {signs}" if signs else "")


async def sent(house: GatewayHarness, request: Fixture, who: Browser | None = None) -> dict[str, Any]:
    """One HTTP request with the headers of the case, to the endpoint where tools have their own names; refused when its
    answer is an error."""
    headers = {name.lower(): value for name, value in request["headers"].items()}
    if request.get("method", "POST") == "GET":
        answer = await client(house).send(method="GET", headers=headers, path=OF_ONE)
        return verdict(f"HTTP {answer.status}" if answer.status >= 400 else "")
    body = json.loads(json.dumps(request["body"]))
    if headers.get("mcp-protocol-version") == MODERN:
        body["params"]["_meta"].setdefault("io.modelcontextprotocol/clientCapabilities", {"extensions": {TASKS: {}}})
    answer = await (who or client(house)).send(body, headers=headers, path=OF_ONE)
    problem = answer.json.get("error") if answer.body else None
    return verdict(f"HTTP {answer.status}: {problem['message']}" if problem else "")


def named_in(bodies: list[Any]) -> tuple[dict[str, list[Any]], None]:
    """Servers that list the tools which these requests call."""
    names = {body["params"]["name"] for body in bodies if "name" in body.get("params", {})}
    return {"one": [{"name": name} for name in sorted(names)]}, None


def configured(url: str) -> dict[str, Any]:
    """A server at this address in an `mcp.json`: left out, noted, or taken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mcp.json"
        path.write_text(json.dumps({"mcpServers": {"remote": {"url": url}}}))
        found = read_configuration(path, env={})
        if found.excluded:
            return verdict(str(found.excluded[0]))
        notices = [notice for spec in found.servers for notice in spec.notices]
        return verdict(noticed="; ".join(notices))
