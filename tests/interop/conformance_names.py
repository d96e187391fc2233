"""A proxy that lets the conformance suite use the endpoint of all servers, where names have the server in front.

`test_x` becomes `server__test_x` in requests, and again `test_x` in lists. Addresses of resources, which the servers of
this test have in common, get the form in which they are listed then. Everything else passes as it is.
"""

from __future__ import annotations

import argparse
import base64
import json
from typing import Any

import aiohttp
import uvicorn

HOP = (b"host", b"content-length", b"connection", b"transfer-encoding", b"accept-encoding")

NAMED_BY = {"tools": "name", "prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate"}


class Names:
    """Speaks to the gateway in the name of one client."""

    def __init__(self, server: str, gateway: str) -> None:
        self.server = server
        self.gateway = gateway
        self.http: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self.http is None:
            self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = [(k, v) for k, v in scope["headers"] if k not in HOP]
        # the suite checks what becomes of a strange Host, so the one that it sent is passed on where it is not ours
        host = dict(scope["headers"])[b"host"]
        named = host.split(b":")[0] not in (b"localhost", b"127.0.0.1")
        # a page of this proxy is one of the gateway's own, which alone may ask it without being allowed to
        own = b"http://" + host
        headers = [(k, self.gateway.encode() if (k, v) == (b"origin", own) and not named else v) for k, v in headers]
        body, headers = self._outwards(body, headers)
        sent = [(k.decode(), v.decode("latin-1")) for k, v in headers]
        if named:
            sent.append(("Host", host.decode()))
        url = self.gateway + scope["path"]
        async with self.http.request(scope["method"], url, data=body or None, headers=sent) as answer:
            kept = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() not in (*HOP, b"date", b"server")]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            if answer.content_type == "text/event-stream":
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            else:
                await send({"type": "http.response.body", "body": self._inwards(await answer.read())})

    def _outwards(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        try:
            message = json.loads(body)
        except ValueError:
            return body, headers
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict):
            return body, headers
        prefix = f"{self.server}__"
        if message.get("method") in ("tools/call", "prompts/get"):
            if isinstance(params.get("name"), str):
                params["name"] = prefix + params["name"]
            headers = [(k, _prefixed(prefix, v) if k == b"mcp-name" else v) for k, v in headers]
        elif isinstance(params.get("uri"), str):
            prefix = f"gateway://{self.server}/"
            params["uri"] = prefix + params["uri"]
            headers = [(k, _prefixed(prefix, v) if k == b"mcp-name" else v) for k, v in headers]
        ref = params.get("ref")
        if isinstance(ref, dict) and ref.get("type") == "ref/prompt":
            ref["name"] = f"{self.server}__{ref['name']}"
        return json.dumps(message).encode(), headers

    def _inwards(self, body: bytes) -> bytes:
        try:
            message = json.loads(body)
        except ValueError:
            return body
        result = message.get("result") if isinstance(message, dict) else None
        for kind, key in NAMED_BY.items() if isinstance(result, dict) else ():
            prefix = f"{self.server}__" if key == "name" else f"gateway://{self.server}/"
            if isinstance(result.get(kind), list):
                own = [one for one in result[kind] if one[key].startswith(prefix)]
                result[kind] = [{**one, key: one[key].removeprefix(prefix)} for one in own]
                body = json.dumps(message).encode()
        return body


def _prefixed(prefix: str, value: bytes) -> bytes:
    """A header with the name that it mirrors changed as in the body, blanks around it kept."""
    text = value.decode("latin-1")
    if text.strip().startswith("=?base64?"):
        plain = base64.b64decode(text.strip()[9:-2]).decode()
        return f"=?base64?{base64.b64encode((prefix + plain).encode()).decode()}?=".encode()
    return text.replace(text.strip(), prefix + text.strip(), 1).encode("latin-1") if text.strip() else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--gateway", required=True)
    chosen = parser.parse_args()
    uvicorn.run(
        Names(chosen.server, chosen.gateway),
        host="127.0.0.1",
        port=chosen.port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
