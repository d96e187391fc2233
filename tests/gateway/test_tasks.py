"""Tasks of servers: their ids outlive the gateway, belong to one principal, and follow the rules of the call."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer

from workbench.endpoint import McpEndpoint
from workbench.events import Call
from workbench.gateway import Gateway

pytestmark = pytest.mark.stores("sqlite", "postgres")

TASKS = "io.modelcontextprotocol/tasks"
DECLARED = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}


class Worker:
    """A connection to a server that answers every call with a task."""

    transport = "memory"
    era, server_info, instructions, on_notification, alive = "2026-07-28", {}, "", None, True
    capabilities = {"tools": {}, "extensions": {TASKS: {}, "com.example/other": {}}}

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def request(self, method: str, params: Any, *, meta: Any = None, **_: Any) -> Any:
        if method == "tools/list":
            return {"tools": [{"name": "work", "inputSchema": {"type": "object"}}]}
        self.sent.append((method, params))
        if method == "tools/call":
            return {"resultType": "task", "taskId": "own-1", "status": "working", "com.example/x": [1]}
        if method == "tasks/get":
            return {"resultType": "complete", "taskId": "own-1", "status": "completed", "result": {"content": []}}
        return {"resultType": "complete"}


@pytest.fixture
def worker() -> Worker:
    return Worker()


async def begin(browser: Any) -> str:
    response = await browser.modern("tools/call", {"name": "worker.work", "arguments": {}}, meta=DECLARED)
    result = response.json["result"]
    assert (result["resultType"], result["status"], result["com.example/x"]) == ("task", "working", [1])
    assert "own-1" not in result["taskId"]
    return str(result["taskId"])


async def about(browser: Any, method: str, id: str, *, meta: Any = DECLARED, **more: Any) -> Any:
    params = {"taskId": id, **more}
    return await browser.modern(method, params, headers={"mcp-name": id}, meta=meta)


async def test_a_task_is_followed_answered_and_cancelled_on_the_record(furnish: Any, browse: Any, worker: Any) -> None:
    house = await furnish(servers={"worker": worker})
    browser = browse(house)
    id = await begin(browser)
    found = (await about(browser, "tasks/get", id)).json["result"]
    assert (found["taskId"], found["status"], found["result"]) == (id, "completed", {"content": []})
    assert (await about(browser, "tasks/update", id, inputResponses={"k": {}})).status == 200
    assert (await about(browser, "tasks/cancel", id)).status == 200
    assert worker.sent[1:] == [
        ("tasks/get", {"taskId": "own-1"}),
        ("tasks/update", {"taskId": "own-1", "inputResponses": {"k": {}}}),
        ("tasks/cancel", {"taskId": "own-1"}),
    ]
    tools = [record["tool"] for record in house.recorded()]
    assert tools == ["worker.work", "worker.tasks/get", "worker.tasks/update", "worker.tasks/cancel"]


async def test_a_task_outlives_the_gateway(furnish: Any, browse: Any, worker: Any) -> None:
    house = await furnish(servers={"worker": worker})
    id = await begin(browse(house))
    house.platform.gateway = Gateway(house.settings, house.registry, house.access, house.policy, house.audit)
    house.endpoint = McpEndpoint(house.gateway)
    assert (await about(browse(house), "tasks/get", id)).json["result"]["status"] == "completed"


async def test_a_task_of_another_principal_is_not_there(furnish: Any, browse: Any, worker: Any) -> None:
    house = await furnish(servers={"worker": worker, "other": MCPServer("other")})
    id = await begin(browse(house))
    thief = browse(house, token=house.key("owner", subject="mallory"))
    for method in ("tasks/get", "tasks/cancel"):
        assert (await about(thief, method, id)).error["code"] == -32602
    assert (await about(browse(house, "/servers/other/mcp"), "tasks/get", id)).error["code"] == -32602
    assert (await about(browse(house), "tasks/get", id[:-3] + "AAA")).error["code"] == -32602
    stolen = Call(caller=house.owner, tool="other.tasks/get", arguments={"taskId": id})
    assert (await house.gateway.call(stolen)).kind == "not_found"
    assert [method for method, _ in worker.sent] == ["tools/call"]
    assert house.outcomes() == ["ok", "not_found", "not_found", "not_found"]


async def test_a_task_needs_the_scopes_of_its_call(furnish: Any, browse: Any, worker: Any) -> None:
    house = await furnish(servers={"worker": worker})
    token = house.key("owner", scopes=("worker:write",), subject="bob")
    id = await begin(browse(house, token=token))
    assert (await about(browse(house, token=token), "tasks/get", id)).status == 200
    narrower = browse(house, token=house.key("owner", scopes=("worker:read",), subject="bob"))
    response = await about(narrower, "tasks/get", id)
    assert (response.status, response.error["data"]["missing_scopes"]) == (403, ["worker:write"])


async def test_only_clients_that_know_tasks_may_ask_and_the_header_has_to_agree(
    furnish: Any, browse: Any, worker: Any
) -> None:
    browser = browse(await furnish(servers={"worker": worker}))
    id = await begin(browser)
    response = await about(browser, "tasks/get", id, meta={})
    assert response.error["code"] == -32021
    assert response.error["data"]["requiredCapabilities"] == {"extensions": {TASKS: {}}}
    for header in (None, "x"):
        response = await browser.modern("tasks/get", {"taskId": id}, headers={"mcp-name": header}, meta=DECLARED)
        assert response.error["code"] == -32020
    found = (await browser.modern("server/discover")).json["result"]["capabilities"]
    assert found["extensions"] == {TASKS: {}, "com.example/other": {}}


@pytest.mark.parametrize("declared", [7, [1], "tasks", True, None, {"extensions": 7}, {"extensions": [TASKS]}])
async def test_capabilities_of_a_wrong_type_declare_nothing(browser: Any, declared: Any) -> None:
    answer = await about(browser, "tasks/get", "t", meta={"io.modelcontextprotocol/clientCapabilities": declared})
    assert answer.status < 500
    assert "requiredCapabilities" in answer.error["data"]
