"""The process that holds the language model: requests come as JSON lines on standard input, chunks go out likewise.

A process of its own, because loading native code and two gigabytes into the gateway would put every call at risk, and
because only a process can be stopped at any moment. It is started by path and imports nothing of the workbench. It ends
when its standard input does, so it never outlives its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from typing import Any, TextIO


def main() -> None:
    """Load the model, say so, then serve one request at a time until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=6144)
    given = parser.parse_args()
    # llama.cpp may print; the pipe to the parent must stay clean
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    began = time.monotonic()
    server = load(given.model, given.threads, given.context)
    send(out, {"ready": True, "seconds": round(time.monotonic() - began, 3)})
    serve(server, out)


def load(path: str, threads: int, context: int) -> Any:
    """The model, ready to answer. Small batches, so that a stop is noticed within seconds while a prompt is read."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = context
    params.n_batch = 128
    params.n_ubatch = 128
    params.n_parallel = 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.ui = False
    return xllamacpp.Server(params)


def serve(server: Any, out: TextIO) -> None:
    """Answer requests in order. `{"stop": id}` ends the running one at the next token."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()
    stopped: set[int] = set()
    threading.Thread(target=listen, args=(sys.stdin, waiting, stopped), daemon=True).start()
    while True:
        message = waiting.get()
        number = message["id"]

        def on_chunk(chunk: Any, number: int = number) -> bool:
            if number in stopped:
                return True
            if isinstance(chunk, str):
                chunk = json.loads(chunk)
            send(out, {"id": number, "chunk": chunk})
            return False

        error = ""
        try:
            answer = server.handle_chat_completions({**message["request"], "stream": True}, on_chunk)
            if isinstance(answer, dict) and answer.get("error"):
                error = str(answer["error"])
        except Exception as e:  # noqa: BLE001 - native code raises what it likes; the parent must be told all of it
            error = f"{type(e).__name__}: {e}"
        send(out, {"id": number, "done": True, "stopped": number in stopped, "error": error})
        stopped.discard(number)


def listen(source: TextIO, waiting: queue.Queue[dict[str, Any]], stopped: set[int]) -> None:
    """Read the parent's lines; its end is ours."""
    for line in source:
        message = json.loads(line)
        if "stop" in message:
            stopped.add(message["stop"])
        else:
            waiting.put(message)
    os._exit(0)


def send(out: TextIO, message: dict[str, Any]) -> None:
    """One line to the parent; a parent that is gone ends the process."""
    try:
        out.write(json.dumps(message) + "\n")
        out.flush()
    except (BrokenPipeError, ValueError):
        os._exit(0)


if __name__ == "__main__":
    main()
