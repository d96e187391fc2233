"""The real weights, where they have been pulled: the process loads them, keeps to the grammar and can be stopped."""

from __future__ import annotations

import importlib.util
import io
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from workbench.agent.embedded import find, worker
from workbench.agent.embedded.model_process import ModelProcess, collect
from workbench.config import Settings

WEIGHTS = find(Settings.load(env={}))
pulled = pytest.mark.skipif(
    WEIGHTS is None or importlib.util.find_spec("xllamacpp") is None, reason="the embedded model is not pulled"
)


@pulled
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_model_keeps_to_the_schema_and_can_be_stopped() -> None:
    assert WEIGHTS is not None
    engine = ModelProcess(WEIGHTS, context=1024)
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    try:
        asked = {"messages": [{"role": "user", "content": "Capital of Italy?"}], "temperature": 0, "max_tokens": 30}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        text, _ = await collect(engine, {**asked, "response_format": form}, lambda: None)
        assert json.loads(text) == {"city": "Rome"}
        async with aclosing(engine.chat({**asked, "max_tokens": 900})) as chunks:
            await anext(chunks)
    finally:
        await engine.close()
    assert not engine.alive


class Told(io.StringIO):
    """Keeps the lines that the worker sends."""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


class Llama:
    """The runtime's two ways to answer: chunks to a callback, and errors as a value or an exception."""

    def handle_chat_completions(self, request: dict[str, Any], on_chunk: Any) -> Any:
        assert request["stream"] is True
        if request.get("raise"):
            raise RuntimeError("no room")
        if request.get("refuse"):
            return {"error": "too long"}
        for n in range(3):
            if on_chunk({"n": n} if n else json.dumps({"n": n})):
                break
        return None


def serve(
    *messages: dict[str, Any], stopped: set[int] | None = None, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    told = Told()

    def listen(source: Any, waiting: Any, stops: set[int]) -> None:
        stops.update(stopped or ())
        for message in messages:
            waiting.put(message)
        waiting.put({})

    monkeypatch.setattr(worker, "listen", listen)
    with pytest.raises(KeyError):  # a message without an id: it ends the loop
        worker.serve(Llama(), told)
    return told.lines()


def test_chunks_are_sent_on_and_the_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told = serve({"id": 4, "request": {}}, monkeypatch=monkeypatch)
    assert [m.get("chunk", {}).get("n") for m in told] == [0, 1, 2, None]
    assert told[-1] == {"id": 4, "done": True, "stopped": False, "error": ""}


def test_a_stopped_request_ends_at_the_next_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serve({"id": 4, "request": {}}, stopped={4}, monkeypatch=monkeypatch) == [
        {"id": 4, "done": True, "stopped": True, "error": ""}
    ]


def test_errors_of_the_runtime_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = serve({"id": 1, "request": {"raise": True}}, {"id": 2, "request": {"refuse": True}}, monkeypatch=monkeypatch)
    assert [m["error"] for m in told] == ["RuntimeError: no room", "too long"]


def test_the_worker_runs_alone(tmp_path: Path) -> None:
    source = Path(worker.__file__).read_text(encoding="utf-8")
    assert "import workbench" not in source
    assert "from workbench" not in source
