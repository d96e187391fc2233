"""`notifications/tasks`: a client hears of its own tasks, as it would see them if it asked, and of nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.conftest import House, until
from workbench.endpoint import task_subscriptions

TASKS = "io.modelcontextprotocol/tasks"
META = "io.modelcontextprotocol/"
DECLARED = {META + "clientCapabilities": {"extensions": {TASKS: {}}}}


class Works:
    """A server of 2026-07-28 with tasks, as the extension describes it: announces those that it is asked to."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.streams: dict[int, tuple[list[str], asyncio.Queue[Any]]] = {}
        self.opened = 0
        self.agrees = True

    def move(self, id: str, status: str, *, tell: bool = True, **more: Any) -> None:
        self.tasks[id] |= {"status": status, **more}
        for ids, queue in list(self.streams.values()):
            if tell and id in ids:
                queue.put_nowait({"method": "notifications/tasks", "params": dict(self.tasks[id])})

    def break_off(self) -> None:
        for _, queue in list(self.streams.values()):
            queue.put_nowait(None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        if scope["method"] != "POST":
            await self._reply(send, 405, {})
            return
        message = json.loads(body)
        method, params = message["method"], message.get("params", {})
        if method == "subscriptions/listen":
            await self._listen(message, params, receive, send)
            return
        result: Any = {"resultType": "complete"}
        if method == "server/discover":
            capabilities = {"tools": {}, "extensions": {TASKS: {}}}
            result |= {"supportedVersions": ["2026-07-28"], "capabilities": capabilities}
        elif method == "tools/list":
            result["tools"] = [{"name": "work", "inputSchema": {"type": "object"}}]
        elif method == "tools/call":
            id = f"own-{len(self.tasks)}"
            self.tasks[id] = {"taskId": id, "status": "working", "ttlMs": None}
            result = {"resultType": "task", **self.tasks[id]}
        elif method == "tasks/get":
            result |= self.tasks[params["taskId"]]
        await self._reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def _listen(self, message: Any, params: Any, receive: Any, send: Any) -> None:
        wanted = params["notifications"]
        capabilities = params["_meta"][META + "clientCapabilities"]
        if "taskIds" in wanted and TASKS not in capabilities.get("extensions", {}):
            error = {"code": -32021, "message": "Missing required client capability"}
            await self._reply(send, 400, {"jsonrpc": "2.0", "id": message["id"], "error": error})
            return
        ids = wanted.get("taskIds", []) if self.agrees else []
        queue: asyncio.Queue[Any] = asyncio.Queue()
        honoured = {"taskIds": ids} if ids else {}
        queue.put_nowait({"method": "notifications/subscriptions/acknowledged", "params": {"notifications": honoured}})
        self.opened += 1
        key = self.opened
        self.streams[key] = (ids, queue)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        leaving = asyncio.ensure_future(receive())
        try:
            while True:
                getting = asyncio.ensure_future(queue.get())
                await asyncio.wait({getting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done() or (told := getting.result()) is None:
                    getting.cancel()
                    await send({"type": "http.response.body", "body": b""})
                    return
                told = {"jsonrpc": "2.0", **told}
                told["params"] |= {"_meta": {META + "subscriptionId": message["id"]}}
                data = b"event: message\ndata: " + json.dumps(told).encode() + b"\n\n"
                await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            leaving.cancel()
            del self.streams[key]

    async def _reply(self, send: Any, status: int, value: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(value).encode()})


@pytest.fixture
async def works(serve: Any) -> tuple[Works, str]:
    app = Works()
    return app, f"{await serve(app)}/mcp"


@pytest.fixture
async def house(works: tuple[Works, str], furnish: Any) -> House:
    found: House = await furnish(servers={"works": works[1]})
    return found


async def begin(browser: Any) -> str:
    response = await browser.modern("tools/call", {"name": "works.work", "arguments": {}}, meta=DECLARED)
    return str(response.json["result"]["taskId"])


class Listener:
    """A client that listens for tasks."""

    def __init__(self, browser: Any, *ids: Any, meta: Any = DECLARED) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.leave = asyncio.Event()
        wanted = {"notifications": {"taskIds": list(ids)}}
        self.response = asyncio.create_task(
            browser.modern(
                "subscriptions/listen", wanted, meta=meta, leave=self.leave, on_event=self.heard.put_nowait, id="l"
            )
        )

    async def hear(self) -> Any:
        async with asyncio.timeout(10):
            message = await self.heard.get()
        assert message["params"].pop("_meta") == {META + "subscriptionId": "l"}
        return message

    async def honoured(self) -> Any:
        message = await self.hear()
        assert message["method"] == "notifications/subscriptions/acknowledged"
        return message["params"]["notifications"]

    async def end(self) -> None:
        self.leave.set()
        await self.response


Listen = Callable[..., Listener]


async def test_a_task_is_announced_as_its_client_may_see_it(
    works: tuple[Works, str], house: House, browse: Any
) -> None:
    server, _ = works
    browser = browse(house)
    id = await begin(browser)
    listener = Listener(browser, id)
    assert await listener.honoured() == {"taskIds": [id]}
    now = await listener.hear()
    assert (now["method"], now["params"]) == ("notifications/tasks", {"taskId": id, "status": "working", "ttlMs": None})
    result = {"content": [{"type": "text", "text": "done"}], "isError": False}
    server.move("own-0", "completed", result=result)
    last = await listener.hear()
    assert last["params"] == {"taskId": id, "status": "completed", "ttlMs": None, "result": result}
    server.move("own-0", "completed")  # nothing new
    await listener.end()
    assert listener.heard.empty()
    await until(lambda: not server.streams)
    tools = [record["tool"] for record in house.recorded()]
    assert tools[0] == "works.work"
    assert set(tools[1:]) == {"works.tasks/get"}


async def test_only_own_tasks_of_clients_that_know_tasks_are_followed(
    works: tuple[Works, str], house: House, browse: Any
) -> None:
    browser, thief = browse(house), browse(house, token=house.key("owner", subject="mallory"))
    id = await begin(browser)
    stranger = Listener(thief, id, "nonsense", 7)
    assert await stranger.honoured() == {}
    await stranger.end()
    elsewhere = Listener(browse(house, "/servers/calc/mcp"), id)
    assert await elsewhere.honoured() == {}
    await elsewhere.end()
    response = await Listener(browser, id, meta={}).response
    assert response.error["code"] == -32021
    assert response.error["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    assert not works[0].opened


async def test_a_task_that_its_server_does_not_announce_is_not_promised(
    works: tuple[Works, str], house: House, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_subscriptions, "TIMEOUT_S", 0.2)
    works[0].agrees = False
    browser = browse(house)
    listener = Listener(browser, await begin(browser))
    assert await listener.honoured() == {}
    await listener.end()
    assert not house.endpoint._modern._announcements.following._followers


async def test_one_stream_upstream_serves_all_who_follow(works: tuple[Works, str], house: House, browse: Any) -> None:
    server, _ = works
    ann, bob = (browse(house, token=house.key("owner", subject=name)) for name in ("ann", "bob"))
    one, two = await begin(ann), await begin(bob)
    first, second = Listener(ann, one), Listener(bob, two)
    for listener, id in ((first, one), (second, two)):
        assert await listener.honoured() == {"taskIds": [id]}
        assert (await listener.hear())["params"]["status"] == "working"
    await until(lambda: [sorted(ids) for ids, _ in server.streams.values()] == [["own-0", "own-1"]])
    server.move("own-0", "cancelled")
    server.move("own-1", "input_required", inputRequests={})
    assert (await first.hear())["params"] == {"taskId": one, "status": "cancelled", "ttlMs": None}
    assert (await second.hear())["params"]["status"] == "input_required"
    await first.end()
    await until(lambda: [ids for ids, _ in server.streams.values()] == [["own-1"]])
    await second.end()
    await until(lambda: not server.streams)


async def test_what_was_missed_while_the_stream_was_broken_is_told(
    works: tuple[Works, str], house: House, browse: Any
) -> None:
    server, _ = works
    browser = browse(house)
    listener = Listener(browser, await begin(browser))
    await listener.honoured()
    await listener.hear()
    server.move("own-0", "completed", tell=False)
    server.break_off()
    assert (await listener.hear())["params"]["status"] == "completed"
    await listener.end()


async def test_a_server_that_came_back_is_asked_again(works: tuple[Works, str], house: House, browse: Any) -> None:
    server, _ = works
    browser = browse(house)
    listener = Listener(browser, await begin(browser))
    await listener.honoured()
    await listener.hear()
    opened = server.opened
    await house.registry.restart("works")
    await until(lambda: server.opened > opened)
    server.move("own-0", "completed")
    assert (await listener.hear())["params"]["status"] == "completed"
    await listener.end()
    await until(lambda: not server.streams)


async def test_who_leaves_before_the_server_agrees_follows_nothing_any_more(
    works: tuple[Works, str], house: House, browse: Any
) -> None:
    server, _ = works
    server.agrees = False
    task = house.gateway.dispatch.tasks.read(await begin(browse(house)))
    followed = house.endpoint._modern._announcements.following
    adding = asyncio.create_task(followed.add([task]))
    await until(lambda: bool(server.streams))
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    assert not followed._followers
    await until(lambda: not server.streams)


async def test_a_server_that_agrees_to_more_than_was_asked_fills_nothing(
    works: tuple[Works, str], house: House, browse: Any
) -> None:
    listener = Listener(browse(house), await begin(browse(house)))
    await listener.honoured()
    followed = house.endpoint._modern._announcements.following
    more = {"notifications": {"taskIds": [f"x-{number}" for number in range(1000)]}}
    followed._acknowledged("works", {"method": task_subscriptions.ACKNOWLEDGED, "params": more})
    assert followed._agreed["works"] == {"own-0"}
    await listener.end()
