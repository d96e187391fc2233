"""Two tenants on one platform: through no door does one see, change or count anything of the other.

Each row of the matrix asks twice: for something of the other tenant, and for something that does not exist. Both
answers are the same, and none may hold a name of the other tenant. A route without a row fails the test.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from tests.sample_company import sample_workbench
from workbench.api import build_api, build_app
from workbench.client import Workbench
from workbench.client.embedded import EmbeddedBackend
from workbench.endpoint.feature_catalog import KINDS
from workbench.endpoint.features import READ
from workbench.endpoint.session_preferences import WISHES
from workbench.events import Call, RunStarted
from workbench.gateway.task_ids import METHODS, TASKS
from workbench.platform.platform import Platform
from workbench.policy.approvals.standing_approvals import StandingTerms

pytestmark = pytest.mark.timeout(180)  # hundreds of requests, many of which start a query
ORIGIN = "http://127.0.0.1:8800"
MODERN = "2026-07-28"
OURS = ("zebrano", "quillan", "diary", "Diary")
"""Words that stand in everything of the first tenant, and in nothing else."""


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks ASGI to everything that stands on the gateway's port, and leaves a stream after its first event."""

    def __init__(self, wb: Workbench, app: Any, token: str) -> None:
        self._wb, self._app, self.token = wb, app, token

    def __call__(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str | None] | None = None, query: str = ""
    ) -> Answer:
        return self._wb._loop.portal.call(self._send, method, path, body, headers or {}, query)

    async def _send(self, method: str, path: str, body: Any, headers: dict[str, str | None], query: str) -> Answer:
        sent = {
            "host": "127.0.0.1:8800", "authorization": f"Bearer {self.token}", "content-type": "application/json",
            "accept": "application/json, text/event-stream", **headers,
        }  # fmt: skip
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer, left = Answer(), asyncio.Event()
        pending: list[Any] = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Any:
            if pending:
                return pending.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
                return
            answer.body += message.get("body", b"").decode("utf-8", "replace")
            if answer.body or not message.get("more_body"):
                stream = answer.headers.get("content-type", "").startswith("text/event-stream")
                if not message.get("more_body") or (stream and path != "/api/platform/query"):
                    left.set()

        raw = [(k.encode(), v.encode("latin-1")) for k, v in sent.items() if v is not None]
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": raw, "scheme": "http", "http_version": "1.1", "root_path": "", "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8800),
        }  # fmt: skip
        async with asyncio.timeout(60):
            await self._app(scope, receive, send)
        return answer

    def modern(self, method: str, params: Any = None, *, path: str = "/mcp") -> Answer:
        """One request of 2026-07-28."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
        }
        params = {**(params or {}), "_meta": meta}
        headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
        if name := next((params[key] for key in ("name", "uri", "taskId") if key in params), None):
            headers["mcp-name"] = name
        return self("POST", path, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, headers=headers)

    def legacy(self, method: str, params: Any = None, *, path: str = "/mcp", session: str = "") -> Answer:
        """One request of an older revision."""
        headers = {"mcp-protocol-version": "2025-11-25", **({"mcp-session-id": session} if session else {})}
        return self(
            "POST", path, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}, headers=headers
        )

    def handshake(self, path: str) -> Answer:
        """A WebSocket handshake; what it is answered with."""
        answer = Answer()

        async def knock() -> None:
            messages = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

            async def receive() -> Any:
                return messages.pop()

            async def send(message: Any) -> None:
                answer.status = message.get("status", answer.status or 101)
                answer.body += message.get("body", b"").decode()

            headers = [(b"host", b"127.0.0.1:8800"), (b"authorization", f"Bearer {self.token}".encode())]
            scope = {"type": "websocket", "path": path, "headers": headers, "subprotocols": ["mcp"], "scheme": "ws"}
            await self._app(scope, receive, send)

        self._wb._loop.portal.call(knock)
        return answer


@dataclass
class House:
    """One platform with what the first tenant has there, and clients of both."""

    wb: Workbench
    platform: Platform
    ours: Client
    theirs: Client
    operator: Client
    approval: str = ""
    standing: str = ""
    key: str = ""
    run: str = ""
    session: str = ""
    task: str = ""
    state: str = ""
    oauth: dict[str, str] = field(default_factory=dict)


def diary() -> MCPServer:
    """The server that exists for the first tenant alone."""
    mcp = MCPServer("diary", instructions="The diary of quillan.")

    @mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
    def read(day: str) -> str:
        """Read a day of the Diary."""
        return f"{day}: quillan was at zebrano"

    @mcp.resource("diary://today")
    def today() -> str:
        return "quillan was at zebrano"

    @mcp.resource("diary://day/{day}")
    def day(day: str) -> str:
        return f"quillan on {day}"

    @mcp.prompt()
    def reflect() -> str:
        """Reflect on the Diary."""
        return "What did quillan do?"

    return mcp


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(diary().streamable_http_app(), log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[House]:
    home = tmp_path_factory.mktemp("tenants") / "home"
    more: Any = {"standing_approvals": True, "local_urls": True, "oauth_server": True, "public_url": ORIGIN}
    with sample_workbench(home, "calendar", "crm", **more) as wb:
        assert isinstance(wb._backend, EmbeddedBackend)
        platform = wb._backend.platform
        app, access = build_app(platform), platform.access
        made = {who: access.create_key(who, roles=["owner"], tenant=t)[1] for who, t in WHO.items()}
        clients = {who: Client(wb, app, token) for who, token in made.items()}
        house = House(wb, platform, clients["quillan"], clients["bob"], Client(wb, app, access.local_key()))
        move_in(house, url)
        yield house
        for events in HELD:
            wb._loop.portal.call(events.aclose)


WHO = {"quillan": "zebrano", "bob": "globex"}


def move_in(house: House, url: str) -> None:
    """Something of every kind that the first tenant can have."""
    ours, platform = house.ours, house.platform
    found = ours("POST", "/servers", {"id": "zebrano-diary", "url": url, "title": "Diary of quillan"})
    assert (found.status, found.json["status"]) == (201, "ready"), found.body
    asked = {"tool": "calendar.cancel_meeting", "arguments": {"meeting_id": "M-00001", "reason": "quillan is away"}}
    house.approval = ours("POST", "/api/platform/call", asked).json["details"]["approval"]
    started = ours.legacy(
        "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
    )
    house.session = started.headers["mcp-session-id"]
    quillan = platform.access.authenticate(f"Bearer {ours.token}")
    house.key = quillan.credential
    asked["arguments"] = {"meeting_id": "M-00002", "reason": "quillan is away"}
    second = ours("POST", "/api/platform/call", asked).json["details"]["approval"]

    async def let_it_be_repeated() -> None:
        await platform.decide(second, True, quillan, via="app", standing=StandingTerms(uses=2))

    house.wb._loop.portal.call(let_it_be_repeated)
    house.standing = ours("GET", "/api/platform/standing-approvals").json["standing_approvals"][0]["id"]
    read = next(tool for tool in platform.gateway.tools(quillan) if tool.qualified == "zebrano-diary.read")
    call = Call(caller=quillan, tool=read.qualified, arguments={"day": "today"})
    task = {"resultType": "task", "taskId": "own-1"}
    house.task = platform.gateway.dispatch.tasks.shown(call, read, task)["taskId"]
    house.state = platform.gateway.dispatch.dialogues._seal(call, state="quillan")
    assert ours("POST", "/api/platform/call", {"tool": read.qualified, "arguments": {"day": "1"}}).json["kind"] == "ok"
    run = {"id": "zebrano-run", "profile": "p", "started_us": 1, "ended_us": 2, "requests": 0, "failures": 0}
    ours("POST", "/api/platform/load-runs", {"run": run, "requests": []})
    house.run = house.wb._loop.portal.call(begin_run, platform, quillan)
    house.oauth = tokens_of(house)


async def begin_run(platform: Platform, quillan: Any) -> str:
    """A run that has started, and that nobody reads on."""
    events = platform.ask("How many customers are there?", quillan, provider="planner")
    first = await anext(aiter(events))
    assert isinstance(first, RunStarted)
    HELD.append(events)
    return first.run


HELD: list[Any] = []


def form(**fields: str) -> bytes:
    from urllib.parse import urlencode

    return urlencode(fields).encode()


FORM = {"content-type": "application/x-www-form-urlencoded", "authorization": None}
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


def tokens_of(house: House) -> dict[str, str]:
    """A client of each tenant at the authorization server, and what the first tenant was given there."""
    issuer, found = house.platform.access.issuer, {}
    assert issuer is not None
    back = "http://127.0.0.1:5000/callback"
    credential = house.platform.access.authenticate(f"Bearer {house.ours.token}").credential
    for who, tenant in WHO.items():
        client, secret = issuer.clients.add(
            f"program of {who}", tenant=tenant, now_us=time.time_ns() // 1000, kind="made", confidential=True,
            redirect_uris=[back], roles=("owner",), refreshes=True,
        )  # fmt: skip
        found |= {f"{who} id": client.id, f"{who} secret": secret}
    for kind in ("code", "spare"):
        _, found[kind] = issuer.grants.add(
            client=found["quillan id"], tenant="zebrano", subject="quillan", roles=("owner",), scopes=("crm:read",),
            resources=(f"{ORIGIN}/mcp",), key_id=credential, redirect_uri=back, challenge=CHALLENGE,
            now_us=time.time_ns() // 1000,
        )  # fmt: skip
    exchange = form(
        grant_type="authorization_code", code=found["code"], redirect_uri=back, code_verifier=VERIFIER,
        client_id=found["quillan id"], client_secret=found["quillan secret"],
    )  # fmt: skip
    given = house.ours("POST", "/oauth/token", exchange, headers=FORM).json
    assert "access_token" in given, given
    return found | {"access": given["access_token"], "refresh": given["refresh_token"], "back": back}


# --- the matrix ------------------------------------------------------------------------------------

Ask = Callable[[Client, str], Answer]
"""Asks for something of that id."""


@dataclass
class Row:
    ask: Ask
    kinds: Sequence[tuple[str, str]] = (("", ""),)
    """Ids of the first tenant, each beside one that does not exist."""


SERVER = [("zebrano-diary", "zebrano-nobody")]
TOOL = [("zebrano-diary.read", "zebrano-diaxx.read"), ("zebrano-diary.resources/read", "zebrano-nobody.resources/read")]
TABLES = ("calls", "tool_calls", "runs", "turns", "approvals", "registry_events", "health_checks", "access_events",
          "load_runs", "load_requests", "metrics", "events", "decisions")  # fmt: skip
QUERIES = (
    *(f"select * from {table}" for table in TABLES),
    "select distinct tenant from events", "select * from duckdb_databases()", "select * from glob('**/*')",
    "select * from events where tenant like 'zeb%'", "select count(*) from read_json_auto('../**/*.jsonl')",
    "select table_name, estimated_size from duckdb_tables()", "select * from duckdb_views()",
)  # fmt: skip


def rest(method: str, path: str, body: Any = None, query: str = "") -> Ask:
    def ask(client: Client, id: str) -> Answer:
        fill: Any = json.loads(json.dumps(body).replace("{id}", id))
        return client(method, path.replace("{id}", id), fill, query=query.replace("{id}", id))

    return ask


def rows_of(house: House) -> dict[tuple[str, str], list[Row]]:
    """What is asked at each route of the management API."""
    approval = [(house.approval, "apr_" + "x" * 22)]
    run = [(house.run, "01900000-0000-7000-8000-000000000000")]
    load = {"run": {"id": "{id}", "profile": "p", "started_us": 1, "ended_us": 2, "requests": 0, "failures": 0},
            "requests": []}  # fmt: skip
    return {
        ("get", "/health"): [Row(rest("GET", "/health"))],
        ("get", "/status"): [Row(rest("GET", "/status"))],
        ("get", "/metrics"): [Row(rest("GET", "/metrics"))],
        ("get", "/servers"): [Row(rest("GET", "/servers"))],
        ("get", "/api/platform/servers"): [Row(rest("GET", "/api/platform/servers"))],
        ("post", "/servers"): [
            Row(rest("POST", "/servers", {"id": "{id}", "url": "http://127.0.0.1:8001/mcp"}), SERVER)
        ],
        ("delete", "/servers/{server}"): [Row(rest("DELETE", "/servers/{id}"), SERVER)],
        ("post", "/api/platform/servers/{server}/restart"): [
            Row(rest("POST", "/api/platform/servers/{id}/restart"), SERVER)
        ],
        ("post", "/api/platform/servers/reload"): [Row(rest("POST", "/api/platform/servers/reload"))],
        ("get", "/api/platform/definitions"): [Row(rest("GET", "/api/platform/definitions"))],
        ("get", "/api/platform/varying-definitions"): [Row(rest("GET", "/api/platform/varying-definitions"))],
        ("delete", "/api/platform/varying-definitions/{tool}"): [
            Row(rest("DELETE", "/api/platform/varying-definitions/{id}"), TOOL[:1])
        ],
        ("post", "/api/platform/definitions/{tool}"): [
            Row(rest("POST", "/api/platform/definitions/{id}", {"hash": "0" * 64}), TOOL[:1])
        ],
        ("get", "/api/platform/tools"): [
            Row(rest("GET", "/api/platform/tools", query="limit=1000")),
            Row(rest("GET", "/api/platform/tools", query="q=read+a+day+of+the+diary&limit=1000")),
        ],
        ("post", "/api/platform/call"): [
            Row(rest("POST", "/api/platform/call", {"tool": "{id}", "arguments": {"day": 1}}), TOOL)
        ],
        ("get", "/api/platform/approvals"): [Row(rest("GET", "/api/platform/approvals"))],
        ("post", "/api/platform/approvals/{approval}"): [
            Row(rest("POST", "/api/platform/approvals/{id}", {"approve": yes}), approval) for yes in (True, False)
        ],
        ("get", "/api/platform/standing-approvals"): [Row(rest("GET", "/api/platform/standing-approvals"))],
        ("delete", "/api/platform/standing-approvals/{standing}"): [
            Row(rest("DELETE", "/api/platform/standing-approvals/{id}"), [(house.standing, "sta_" + "x" * 22)])
        ],
        ("get", "/api/platform/keys"): [Row(rest("GET", "/api/platform/keys"))],
        ("post", "/api/platform/keys"): [Row(rest("POST", "/api/platform/keys", {"subject": "x", "roles": ["{id}"]}))],
        ("delete", "/api/platform/keys/{key}"): [
            Row(rest("DELETE", "/api/platform/keys/{id}"), [(house.key, "a" * 12)])
        ],
        ("get", "/api/platform/budget"): [Row(rest("GET", "/api/platform/budget"))],
        ("get", "/api/platform/providers"): [Row(rest("GET", "/api/platform/providers"))],
        ("post", "/api/platform/query"): [
            Row(rest("POST", "/api/platform/query", {"question": q, "provider": "planner", "stream": stream}))
            for q in ("What stands in the journal of today?", "Read the notes.")
            for stream in (True, False)
        ],
        ("post", "/api/platform/runs/{run}/cancel"): [Row(rest("POST", "/api/platform/runs/{id}/cancel"), run)],
        ("get", "/api/platform/profiles"): [Row(rest("GET", "/api/platform/profiles"))],
        ("get", "/api/platform/audit"): [Row(rest("GET", "/api/platform/audit", query="limit=1000"))],
        ("post", "/api/platform/load-requests"): [
            Row(rest("POST", "/api/platform/load-requests", load), [("zebrano-run", "zebrano-none")])
        ],
        ("post", "/api/platform/load-runs"): [
            Row(rest("POST", "/api/platform/load-runs", load), [("zebrano-run", "zebrano-none")])
        ],
        ("post", "/api/platform/sql"): [Row(rest("POST", "/api/platform/sql", {"sql": sql})) for sql in QUERIES],
        ("get", "/api/platform/audit/export"): [
            Row(rest("GET", "/api/platform/audit/export", query=f"table={table}&format=csv")) for table in TABLES
        ],
        ("post", "/slack/interactivity"): [Row(rest("POST", "/slack/interactivity", {"id": "{id}"}), approval)],
    }


def mcp_rows(house: House) -> dict[str, list[tuple[str, Ask, Sequence[tuple[str, str]]]]]:
    """What is asked with each method of MCP, at both eras; and at the endpoint of one server with a foreign name."""
    uri = [
        ("diary://today", "diarx://today"),
        ("gateway://zebrano-diary/diary://today", "gateway://zebrano-nob/diary://today"),
    ]
    task = [(house.task, house.task[:-6] + "AAAAAA")]
    arguments: dict[str, tuple[Any, Sequence[tuple[str, str]]]] = {
        "tools/list": ({}, [("", "")]),
        "tools/call": ({"name": "{id}", "arguments": {"day": 1}}, TOOL),
        "resources/list": ({}, [("", "")]),
        "resources/templates/list": ({}, [("", "")]),
        "resources/read": ({"uri": "{id}"}, uri),
        "resources/subscribe": ({"uri": "{id}"}, uri),
        "resources/unsubscribe": ({"uri": "{id}"}, uri),
        "prompts/list": ({}, [("", "")]),
        "prompts/get": ({"name": "{id}"}, [("zebrano-diary.reflect", "zebrano-nobody.reflect")]),
        "completion/complete": (
            {"ref": {"type": "ref/prompt", "name": "{id}"}, "argument": {"name": "a", "value": ""}},
            [("zebrano-diary.reflect", "zebrano-nobody.reflect")],
        ),
        "logging/setLevel": ({"level": "debug"}, [("", "")]),
        "tasks/get": ({"taskId": "{id}"}, task),
        "tasks/update": ({"taskId": "{id}", "inputResponses": {}}, task),
        "tasks/cancel": ({"taskId": "{id}"}, task),
        "server/discover": ({}, [("", "")]),
        "subscriptions/listen": ({"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["{id}"]}}, uri),
        "initialize": ({"protocolVersion": "2025-11-25", "capabilities": {}}, [("", "")]),
        "ping": ({}, [("", "")]),
    }  # fmt: skip

    def asking(method: str, params: Any, speak: str) -> Ask:
        def ask(client: Client, id: str) -> Answer:
            return getattr(client, speak)(method, json.loads(json.dumps(params).replace("{id}", id)))

        return ask

    return {
        method: [(speak, asking(method, params, speak), kinds) for speak in ("modern", "legacy")]
        for method, (params, kinds) in arguments.items()
    }


def unnamed(body: str, id: str) -> str:
    """A body without the id that was asked for, and without the server in it: whoever asks hears what they said."""
    for said in (id, id.partition(".")[0]) if id else ():
        body = body.replace(said, "<asked>")
    return body


def plain(answer: Answer, id: str) -> str:
    """An answer without what differs from one request to the next: the id that was asked for, ids, times."""
    text = json.dumps([answer.status, sorted(answer.headers), unnamed(answer.body, id)])
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", "<uuid>", text)
    text = re.sub(r'nonce(=\\*"|-)[\w-]+', "<nonce>", text)
    return re.sub(r'(_us\\*":\s*|content-length)\d+', r"\1<n>", text)


def hold(house: House, ask: Ask, kinds: Sequence[tuple[str, str]], *, what: str, said: str = "") -> None:
    """Both answers are the same, and no word of the first tenant stands in them but what was `said` by us."""
    for real, unreal in kinds:
        found = ask(house.theirs, real)
        assert found.status < 500, (what, found.body)
        if real:
            assert plain(found, real) == plain(ask(house.theirs, unreal), unreal), what
        heard = unnamed(unnamed(found.body, real), said)
        for word in OURS:
            assert word not in heard, (what, word, heard[:2000])


def hold_all(house: House, matrix: dict[tuple[str, str], list[Row]]) -> None:
    """All rows: lists first, because whoever asked for a name finds it in their own record."""
    rows = [(key, row) for key, rows in matrix.items() for row in rows]
    for key, row in sorted(rows, key=lambda pair: pair[1].kinds[0] != ("", "")):
        hold(house, row.ask, row.kinds, what=" ".join(key))


def test_every_route_of_the_management_api_has_a_row_and_holds(house: House) -> None:
    documented = {
        (method, path) for path, methods in build_api(house.platform).openapi()["paths"].items() for method in methods
    }
    matrix = rows_of(house)
    assert not documented - matrix.keys(), (
        "A new route needs a row: what another tenant's id answers, and what it lists."
    )
    hold_all(house, matrix)


def test_every_method_of_mcp_has_a_row_and_holds(house: House) -> None:
    served = {*KINDS, *READ, *METHODS, *WISHES, "tools/list", "tools/call", "server/discover", "subscriptions/listen",
              "initialize", "ping"}  # fmt: skip
    matrix = mcp_rows(house)
    assert served == matrix.keys()
    for method, rows in matrix.items():
        for speak, ask, kinds in rows:
            hold(house, ask, kinds, what=f"{method}, {speak}")


def test_endpoints_of_a_server_that_is_none_of_theirs_are_not_there(house: House) -> None:
    for path in ("/servers/{id}/mcp",):
        for method in ("tools/list", "server/discover", "tools/call"):
            for speak in ("modern", "legacy"):
                row = Row(
                    lambda c, id, m=method, s=speak, p=path: getattr(c, s)(m, {}, path=p.replace("{id}", id)), SERVER
                )
                hold(house, row.ask, row.kinds, what=f"{method} at {path}")
        for verb in ("GET", "DELETE"):
            hold(house, lambda c, id, v=verb, p=path: c(v, p.replace("{id}", id)), SERVER, what=f"{verb} {path}")
    hold(house, lambda c, id: c.handshake(f"/servers/{id}/ws"), SERVER, what="handshake")
    about = "/.well-known/oauth-protected-resource"
    hold(house, lambda c, id: c("GET", f"{about}/servers/{id}/mcp"), SERVER, what="metadata")
    hold(house, lambda c, id: c("GET", f"{about}/mcp"), [("", "")], what="metadata")
    assert house.ours.legacy("tools/list", path="/servers/zebrano-diary/mcp").status == 200
    assert house.ours.handshake("/servers/zebrano-diary/ws").status == 101


def test_sessions_and_request_states_are_good_for_nobody_else(house: House) -> None:
    session = [(house.session, house.session[:-6] + "AAAAAA")]
    for verb in ("GET", "DELETE"):
        hold(
            house, lambda c, id, v=verb: c(v, "/mcp", headers={"mcp-session-id": id}), session, what=f"{verb} a session"
        )
    for method in ("ping", "tools/list", "resources/subscribe"):
        hold(house, lambda c, id, m=method: c.legacy(m, session=id), session, what=f"{method} in a session")
    state = [(house.state, house.state[:-6] + "AAAAAA")]
    asked = {"name": "zebrano-diary.read", "arguments": {"day": "today"}, "inputResponses": {}}
    hold(
        house,
        lambda c, id: c.modern("tools/call", {**asked, "requestState": id}),
        state,
        what="requestState",
        said="zebrano-diary.read",
    )
    assert house.ours.legacy("ping", session=house.session).status == 200


def test_every_endpoint_of_the_authorization_server_holds(house: House) -> None:
    from workbench.api.application import _authorization_server

    issuing, o = _authorization_server(house.platform), house.oauth
    assert issuing is not None
    bob = {"client_id": o["bob id"], "client_secret": o["bob secret"]}

    def posted(path: str, **fields: str) -> Ask:
        return lambda c, id: c(
            "POST", path, form(**{k: v.replace("{id}", id) for k, v in (fields | bob).items()}), headers=FORM
        )

    tokens = [(o[kind], o[kind][:-6] + "AAAAAA") for kind in ("access", "refresh")]
    code = [(o["spare"], o["spare"][:-6] + "AAAAAA")]
    exchange = {
        "grant_type": "authorization_code",
        "code": "{id}",
        "redirect_uri": o["back"],
        "code_verifier": VERIFIER,
    }
    matrix: dict[str, list[Row]] = {
        "/.well-known/oauth-authorization-server": [Row(rest("GET", "/.well-known/oauth-authorization-server"))],
        "/oauth/jwks": [Row(rest("GET", "/oauth/jwks"))],
        "/oauth/authorize": [Row(posted("/oauth/authorize", request="{id}"), [("x" * 43, "y" * 43)])],
        "/oauth/introspect": [Row(posted("/oauth/introspect", token="{id}"), tokens)],
        "/oauth/revoke": [Row(posted("/oauth/revoke", token="{id}"), tokens)],
        "/oauth/token": [
            Row(posted("/oauth/token", **exchange), code),
            Row(posted("/oauth/token", grant_type="refresh_token", refresh_token="{id}"), tokens[1:]),
        ],
    }  # fmt: skip
    assert {route.path for route in issuing._app.routes} == matrix.keys()  # type: ignore[attr-defined]
    for path, rows in matrix.items():
        for row in rows:
            hold(house, row.ask, row.kinds, what=path)
    assert house.platform.access.authenticate(f"Bearer {house.ours.token}").tenant == "zebrano"
    held = Client(house.wb, house.ours._app, o["access"])
    assert held.legacy("ping").status == 200, "the other tenant could revoke our token"


def test_who_runs_the_platform_has_no_look_into_a_tenant_either(house: House) -> None:
    operator = House(**{**vars(house), "theirs": house.operator})
    matrix = rows_of(house)
    hold_all(operator, {k: rows for k, rows in matrix.items() if k not in {("post", "/servers"), ("get", "/metrics")}})
    taken = house.operator("POST", "/servers", {"id": "zebrano-diary", "url": "http://127.0.0.1:8001/mcp"})
    assert (taken.status, taken.json["error"]["message"]) == (400, "Server name 'zebrano-diary' cannot be used.")


def test_shared_servers_are_managed_by_who_runs_them(house: House) -> None:
    for answer in (house.theirs("DELETE", "/servers/crm"), house.theirs("POST", "/api/platform/servers/crm/restart")):
        assert answer.status == 400
        assert "serves all tenants" in answer.json["error"]["message"]
    reload = house.theirs("POST", "/api/platform/servers/reload")
    assert (reload.status, "that of all tenants" in reload.json["error"]["message"]) == (400, True)
    assert "record" not in house.theirs("GET", "/status").json
    assert "record" in house.operator("GET", "/status").json


def test_what_the_first_tenant_has_is_untouched_and_its_own(house: House) -> None:
    ours = house.ours
    assert [a["id"] for a in ours("GET", "/api/platform/approvals").json["approvals"]] == [house.approval]
    (standing,) = ours("GET", "/api/platform/standing-approvals").json["standing_approvals"]
    assert (standing["id"], standing["status"]) == (house.standing, "active")
    assert house.run in ours("GET", "/status").json["runs"]
    assert ours("GET", "/servers").json["servers"][-1]["id"] == "zebrano-diary"
    assert 'tool="zebrano-diary.read"' in ours("GET", "/metrics").body
    assert "quillan was at zebrano" in ours.modern("resources/read", {"uri": "diary://today"}).body
    assert "zebrano-diary__reflect" in ours.modern("prompts/list").body
    rows = ours("POST", "/api/platform/sql", {"sql": "select * from load_runs"}).json["rows"]
    assert len(rows) == 1
    assert house.ours("DELETE", "/servers/zebrano-diary").status == 200
