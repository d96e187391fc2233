"""The model's process: a real child that speaks the same lines, with a script instead of weights."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from workbench.agent.embedded.model_process import ModelProcess, collect, threads
from workbench.agent.provider import ProviderError

WORKER = """
import json, os, sys, time
def say(m): print(json.dumps(m), flush=True)
mode = sys.argv[1]
if mode == "broken":
    print("llama: cannot open the file", file=sys.stderr); sys.exit(3)
say({"ready": True, "seconds": 0.5})
stopped = set()
import threading, queue
asked = queue.Queue()
def listen():
    for line in sys.stdin:
        m = json.loads(line)
        stopped.add(m["stop"]) if "stop" in m else asked.put(m)
    os._exit(0)
threading.Thread(target=listen, daemon=True).start()
while True:
    m = asked.get()
    what = m["request"]["messages"][-1]["content"]
    if what == "die": os._exit(9)
    if what == "refuse":
        say({"id": m["id"], "done": True, "error": "the context is full"}); continue
    say({"id": m["id"] - 1, "chunk": {"choices": [{"delta": {"content": "stale"}}]}})
    n = 0
    while m["id"] not in stopped and (what == "for ever" or n < 3):
        if what == "deaf": time.sleep(60)
        say({"id": m["id"], "chunk": {"choices": [{"delta": {"content": f"{n} "}}]}}); n += 1
        if what == "for ever": time.sleep(0.01)
    usage = {"prompt_tokens": 7, "completion_tokens": n}
    say({"id": m["id"], "chunk": {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}})
    say({"id": m["id"], "done": True, "stopped": m["id"] in stopped, "error": ""})
"""


def ask(text: str) -> dict[str, list[dict[str, str]]]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[ModelProcess]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    found = ModelProcess(Path("good"), worker=script)
    yield found
    await found.close()


async def test_text_usage_and_the_end_come_through(engine: ModelProcess) -> None:
    tokens: list[int] = []
    text, end = await collect(engine, ask("hello"), lambda: tokens.append(1))
    assert text == "0 1 2 "
    assert end["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
    assert end["finish"] == "stop"
    assert len(tokens) == 3
    assert engine.load_seconds == 0.5


async def test_leaving_a_stream_stops_the_model_and_keeps_the_process(engine: ModelProcess) -> None:
    async with aclosing(engine.chat(ask("for ever"))) as chunks:
        async for _ in chunks:
            break
    assert engine.alive
    assert (await collect(engine, ask("hello"), lambda: None))[0] == "0 1 2 "


async def test_a_process_that_does_not_notice_is_killed_and_started_anew(
    engine: ModelProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.agent.embedded.model_process.STOP_GRACE_S", 0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await collect(engine, ask("deaf"), lambda: None)
    assert not engine.alive
    assert (await collect(engine, ask("hello"), lambda: None))[0] == "0 1 2 "


async def test_a_process_that_dies_is_an_error_and_the_next_question_starts_another(engine: ModelProcess) -> None:
    with pytest.raises(ProviderError, match="ended with code 9") as caught:
        await collect(engine, ask("die"), lambda: None)
    assert caught.value.kind == "unreachable"
    assert (await collect(engine, ask("hello"), lambda: None))[0] == "0 1 2 "


async def test_a_refusal_keeps_its_reason(engine: ModelProcess) -> None:
    with pytest.raises(ProviderError, match="context is full") as caught:
        await collect(engine, ask("refuse"), lambda: None)
    assert caught.value.kind == "context"


async def test_a_file_that_cannot_be_loaded_says_what_the_runtime_said(engine: ModelProcess) -> None:
    engine.model = Path("broken")
    with pytest.raises(ProviderError, match="ended with code 3"):
        await collect(engine, ask("hello"), lambda: None)


async def test_questions_wait_for_each_other(engine: ModelProcess) -> None:
    both = await asyncio.gather(*(collect(engine, ask("hello"), lambda: None) for _ in range(2)))
    assert [text for text, _ in both] == ["0 1 2 "] * 2


async def test_closing_ends_the_process(engine: ModelProcess) -> None:
    await collect(engine, ask("hello"), lambda: None)
    await engine.close()
    assert not engine.alive


def test_one_processor_is_left_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, wanted in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(os, "cpu_count", lambda n=cpus: n)
        assert threads() == wanted
