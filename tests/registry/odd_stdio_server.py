"""A stdio server of the standard library alone that misbehaves: `python odd_stdio_server.py MODE`.

The mode says what is odd about its start or its messages; tools named after a fault do that in a call.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

MODE = sys.argv[1]
OUT, IN = sys.stdout.buffer, sys.stdin.buffer
ENCODING = {"utf16": "utf-16-le", "utf16be": "utf-16-be", "latin1": "latin-1"}.get(MODE, "utf-8")
HOLDER = [sys.executable, "-c", "import time; time.sleep(60)"]
"""A process that keeps our pipes open."""


def write(text: str) -> None:
    OUT.write(text.encode(ENCODING, "surrogatepass" if ENCODING == "utf-8" else "replace"))
    OUT.flush()


def send(**message: Any) -> None:
    if MODE != "no_version":
        message = {"jsonrpc": "2.0", **message}
    text = json.dumps(message, indent=2 if MODE == "indented" else None, ensure_ascii=MODE != "latin1")
    if MODE == "batch":
        text = f"[{text}]"
    if MODE == "prompt":
        text = "> " + text
    if MODE == "progress_bar":
        text = "Loading   1%\rLoading 100%\r" + text
    if MODE == "bom":
        text = "\ufeff" + text
    write(text + ("\r\n" if MODE == "crlf" else "\n"))
    if MODE == "twice":
        write(text + "\n")


def complain(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def read() -> Any:
    line = IN.readline()
    if not line:
        sys.exit(0)
    if MODE == "echo":
        write(line.decode())
    return json.loads(line)


TRACEBACK = """npm warn deprecated thing@1.0.0: no longer supported
Traceback (most recent call last):
  File "/srv/app/server.py", line 3, in <module>
    import postgres_driver
    ^^^^^^^^^^^^^^^^^^^^^^
\x1b[31mModuleNotFoundError: No module named 'postgres_driver'\x1b[0m

npm notice New version of npm available!"""

RAW = {
    "nan": '{"jsonrpc":"2.0","id":%d,"result":{"content":[],"structuredContent":{"mean":NaN,"most":[Infinity]}}}\n',
    "surrogate": '{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"a\\ud800b"}]}}\n',
    "large_nan": '{"jsonrpc":"2.0","id":%d,"result":{"text":"'
    + "x" * 100_000
    + '","structuredContent":{"mean":NaN}}}\n',
    "large_broken": '{"jsonrpc":"2.0","id":%d,"result":{"text":"' + "x" * 100_000 + "\"','structuredContent'}}\n",
    "two_values": '{"jsonrpc":"2.0","id":%d,"result":{"content":[]}} {"level":"info"}\n',
    "over_lines": '{\n "jsonrpc": "2.0",\n "id": %d,\n "result": {\n  "content": []\n }\n}\n',
    "text_id": '{"jsonrpc":"2.0","id":"%d","result":{"content":[]}}\n',
    "bare_text": '{"jsonrpc":"2.0","id":%d,"result":"done"}\n',
    "content_null": '{"jsonrpc":"2.0","id":%d,"result":{"content":null}}\n',
    "logs": '{"level":"info","id":%d}\nDEBUG {x}\n[INFO] {\n',
    "broken": '{"jsonrpc":"2.0","id":%d,"result":{\'content\': []}}\n',
    "never_ends": '{"jsonrpc":"2.0","id":%d,"result":{"content":[\n',
    "error_text": '{"jsonrpc":"2.0","id":%d,"error":"no such table"}\n',
}


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def call(id: Any, name: str, arguments: dict[str, Any]) -> None:
    if name in RAW:
        write(RAW[name] % id)
        if name == "logs":
            send(id=id, result={"content": []})
    elif name == "latin1":
        OUT.write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"caf\xe9"}]}}\n' % id)
        OUT.flush()
    elif name == "unknown_id":
        send(id=None, error={"code": -32700, "message": "Parse error: depth"})
    elif name == "logs_error":
        complain('Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: bad invoice\n')
        send(id=id, result={"content": []})
    elif name == "flood":
        complain("x" * 5_000_000)
        complain("y\n" * 50_000)
        send(id=id, result={"content": []})
    elif name == "exit0":
        os._exit(0)
    elif name == "exit0_held":
        subprocess.Popen(HOLDER)
        os._exit(0)
    elif name == "crash":
        complain(TRACEBACK)
        os._exit(3)
    elif name == "segfault":
        os._exit(139)
    elif name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "cut_off":
        write(f'{{"jsonrpc":"2.0","id":{id},"result":{{"con')
        os._exit(4)
    elif name == "closes_output":
        os.close(1)
        time.sleep(60)
    elif name == "busy":
        time.sleep(arguments["seconds"])
        send(id=id, result={"content": []})
    elif name == "spin":
        spin(arguments["seconds"])
        send(id=id, result={"content": []})
    elif name == "progress":
        for number in range(5):
            time.sleep(0.05)
            send(method="notifications/progress", params={"progressToken": "none", "progress": number})
        send(id=id, result={"content": []})
    else:
        send(id=id, result={"content": [{"type": "text", "text": f"{name} {os.getpid()}"}]})


def answer(message: dict[str, Any]) -> None:
    method, id = message.get("method"), message.get("id")
    if method is None or id is None:
        return
    if MODE == "text_ids":
        id = str(id)
    if method == "initialize":
        result: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        if MODE.startswith("revision="):
            result["protocolVersion"] = json.loads(MODE.partition("=")[2])
        if MODE == "null_capabilities":
            result |= {"capabilities": {"tools": None, "prompts": None}, "serverInfo": None, "instructions": None}
        send(id=id, result=result)
    elif method == "server/discover" and MODE == "loads_modern":
        send(id=id, result={"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
    elif method == "tools/list":
        if MODE == "slow_list":
            time.sleep(0.3)
        send(id=id, result={"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], "nextCursor": None})
    elif method == "tools/call":
        call(id, message["params"]["name"], message["params"].get("arguments") or {})
    elif method == "ping" and MODE != "no_ping":
        send(id=id, result={})
    elif MODE == "no_id_in_errors":
        send(id=None, error={"code": -32601, "message": "Method not found"})
    elif MODE not in ("ignores", "no_ping"):
        send(id=id, error={"code": -32601, "message": "Method not found"})


def before_start() -> None:
    """What is odd before the first message is read."""
    if MODE == "needs_key":
        complain("Error: API_KEY environment variable is required\n    at start (/srv/index.js:3:9)\n\nNode.js v22.1.0")
        sys.exit(1)
    if MODE == "banner":
        write("🖥️ Server mode: STDIO\n\n> demo@1.0.0 start\n  .   ____          _\n{ x\n")
    if MODE == "says_why_on_stdout":
        write("\n> demo@1.0.0 start\nError: no such folder: /nowhere\n")
        sys.exit(1)
    if MODE == "asks":
        write("Enter your API key: ")
        time.sleep(60)
    if MODE in ("loads", "loads_modern"):
        time.sleep(1)
    if MODE in ("banner", "initialize_first_slowly"):
        time.sleep(0.4)
    if MODE == "works":
        spin(float(sys.argv[2]))
    if MODE == "multiplies":
        for _ in range(12):
            subprocess.Popen(HOLDER)
        spin(60)
    if MODE == "json_logs":
        write('{"level":"info","msg":"up"}\n{"id":1,"method":"GET","url":"/x"}\n[1,2]\n"text"\n')
    if MODE == "stderr_first":
        complain("INFO something happened\n" * 20_000)
    if MODE == "holder":
        subprocess.Popen(HOLDER)
    if MODE == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "daemon" and os.fork():
        os._exit(0)


def initialize_first() -> None:
    """Understand `initialize` alone at first, then insist on `notifications/initialized`."""
    first = read()
    if first["method"] != "initialize":
        complain(f"Error: ExpectedInitializeRequest({first['method']})")
        sys.exit(1)
    answer(first)
    if read()["method"] != "notifications/initialized":
        sys.exit(2)


def main() -> None:
    before_start()
    if MODE == "silent":
        time.sleep(60)
    if MODE.startswith("initialize_first"):
        initialize_first()
    if MODE == "asks_first":
        first = read()
        send(method="notifications/message", params={"level": "info", "data": "hello"})
        send(method="notifications/tools/list_changed")
        send(id="a", method="roots/list")
        send(id="b", method="ping")
        while {read().get("id"), read().get("id")} != {"a", "b"}:
            pass
        answer(first)
    while True:
        answer(read())


if __name__ == "__main__":
    main()
