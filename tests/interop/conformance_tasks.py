"""The tasks extension as a server of the conformance suite needs it: durable enough for one process, and no more."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import mcp_types as types
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from pydantic import Field

TASKS = "io.modelcontextprotocol/tasks"
MODERN = frozenset({"2026-07-28"})
FINAL = ("completed", "failed", "cancelled")


def elicitation(message: str, *required: str, kind: str = "string", **more: str) -> types.ElicitRequest:
    """A form of one property for each name."""
    properties = {name: {"type": kind} for name in required} | {name: {"type": kind} for name, kind in more.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def words(text: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], **more)


class TaskParams(types.RequestParams):
    task_id: str = Field(alias="taskId")


class UpdateParams(TaskParams):
    input_responses: dict[str, Any] = Field(default_factory=dict, alias="inputResponses")


class Task:
    """One task and what it waits for."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(24)
        self.status = "working"
        self.created = self.updated = _now()
        self.result: Any = None
        self.error: Any = None
        self.runner: asyncio.Task[None] | None = None
        self._asked: dict[str, tuple[dict[str, Any], asyncio.Future[Any]]] = {}

    def move(self, status: str) -> None:
        if self.status not in FINAL:
            self.status, self.updated = status, _now()

    async def ask(self, request: types.ElicitRequest) -> Any:
        """Wait for the client's answer to one question."""
        answer = asyncio.get_running_loop().create_future()
        self._asked[secrets.token_hex(4)] = (request.model_dump(by_alias=True, mode="json", exclude_none=True), answer)
        self.move("input_required")
        return await answer

    def answer(self, responses: dict[str, Any]) -> None:
        """Take answers; those to questions that nobody asked are ignored."""
        for key in responses.keys() & self._asked.keys():
            self._asked.pop(key)[1].set_result(responses[key])
        if not self._asked and self.status == "input_required":
            self.move("working")

    async def run(self, work: Awaitable[types.CallToolResult]) -> None:
        try:
            result = (await work).model_dump(by_alias=True, mode="json", exclude_none=True)
            self.result = {key: value for key, value in result.items() if key != "resultType"}
            self.move("completed")
        except asyncio.CancelledError:
            self.move("cancelled")
        except RuntimeError as e:  # a fault of the protocol, not of the tool
            self.error = {"code": types.INTERNAL_ERROR, "message": str(e)}
            self.move("failed")

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "ttlMs": 300_000,
            "pollIntervalMs": 200,
        }
        if self.status == "input_required":
            found["inputRequests"] = {key: request for key, (request, _) in self._asked.items()}
        if self.status == "completed":
            found["result"] = self.result
        if self.status == "failed":
            found["error"] = self.error
        return found


Work = Callable[[Task, dict[str, Any], Any], Awaitable[types.CallToolResult]]


class Tasks(Extension):
    """Answers calls of some tools with tasks, where the client declared that it knows them."""

    identifier = TASKS

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}

    def methods(self) -> list[MethodBinding]:
        return [
            MethodBinding("tasks/get", TaskParams, self.get, MODERN),
            MethodBinding("tasks/update", UpdateParams, self.update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self.cancel, MODERN),
        ]

    async def get(self, ctx: Any, params: TaskParams) -> dict[str, Any]:
        return {"resultType": "complete", **self._task(ctx, params).shown()}

    async def update(self, ctx: Any, params: UpdateParams) -> dict[str, Any]:
        self._task(ctx, params).answer(params.input_responses)
        return {"resultType": "complete"}

    async def cancel(self, ctx: Any, params: TaskParams) -> dict[str, Any]:
        task = self._task(ctx, params)
        task.move("cancelled")
        if task.runner is not None:
            task.runner.cancel()
        return {"resultType": "complete"}

    async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
        work = WORK.get(params.name)
        if work is None:
            return await call_next(ctx)
        declared = ctx.session.client_capabilities
        if not (declared and declared.extensions and TASKS in declared.extensions):
            if params.name in REQUIRED:
                require_client_extension(ctx, TASKS)
            return await call_next(ctx)
        answer = None
        if params.name == "test_tool_with_task":
            answer = (params.input_responses or {}).get("user_name")
            if answer is None:
                return types.InputRequiredResult(
                    input_requests={"user_name": elicitation("What is your name?", "name")}
                )
        task = Task()
        self.tasks[task.id] = task
        task.runner = asyncio.create_task(task.run(work(task, params.arguments or {}, answer)))
        return {"resultType": "task", **task.shown()}

    def _task(self, ctx: Any, params: TaskParams) -> Task:
        require_client_extension(ctx, TASKS)
        mirrored = ctx.request.headers.get("mcp-name") if ctx.request is not None else None
        if mirrored not in (None, params.task_id):
            raise MCPError(types.HEADER_MISMATCH, "Mcp-Name and params.taskId differ.")
        if params.task_id not in self.tasks:
            raise MCPError(types.INVALID_PARAMS, "Failed to retrieve task: Task not found")
        return self.tasks[params.task_id]


async def slow_compute(_: Task, arguments: dict[str, Any], __: Any) -> types.CallToolResult:
    await asyncio.sleep(float(arguments.get("seconds", 0)))
    text = f"computed {arguments.get('label', '')}"
    return words(text, structured_content={"result": text})


async def failing_job(*_: Any) -> types.CallToolResult:
    await asyncio.sleep(0.3)
    return words("The job failed.", is_error=True)


async def protocol_error_job(*_: Any) -> types.CallToolResult:
    await asyncio.sleep(0.1)
    raise RuntimeError("The job broke.")


async def confirm_delete(task: Task, arguments: dict[str, Any], _: Any) -> types.CallToolResult:
    name = arguments.get("filename")
    return words(json.dumps([name, await task.ask(elicitation(f"Delete {name}?", "confirm", kind="boolean"))]))


async def multi_input(task: Task, *_: Any) -> types.CallToolResult:
    asked = (task.ask(elicitation(f"Question {n}", "name", confirm="boolean")) for n in (1, 2))
    return words(json.dumps(await asyncio.gather(*asked)))


async def named(_: Task, __: dict[str, Any], answer: Any) -> types.CallToolResult:
    return words(f"Hello {(answer.content or {}).get('name')}")


WORK: dict[str, Work] = {
    "slow_compute": slow_compute,
    "failing_job": failing_job,
    "protocol_error_job": protocol_error_job,
    "confirm_delete": confirm_delete,
    "multi_input": multi_input,
    "test_tool_with_task": named,
}
REQUIRED = ("failing_job", "test_tool_with_task")


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
