"""Launches server processes so that none of them can be left behind, whatever happens to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from dataclasses import replace

from workbench.registry import reaper
from workbench.registry.child import Child, environment, spawn
from workbench.registry.server import ServerSpec


class Supervisor:
    """The children of one platform, and the reaper that ends them should we not.

    A bundled server inherits a listening socket that we keep open: a restarted server has the same port, and what
    connects meanwhile waits instead of being refused. Only who knows its secret is answered.
    """

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16)
        self._reaper: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._groups: set[int] = set()
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._secrets: dict[str, str] = {}

    async def open(self) -> None:
        """Start the reaper. To be called before the first launch."""
        if self._reaper is None:
            self._start_reaper()

    async def launch(self, spec: ServerSpec, replica: int = 0) -> Child:
        """Start the server of `spec` and return at once; whether it answers is found out by connecting.

        Args:
            spec: the server.
            replica: which of several it is; each has a port of its own.

        Raises:
            Unreachable: it cannot be started.
        """
        env = environment(spec, {reaper.VARIABLE: self.mark})
        if spec.stdio:
            child = await spawn(spec, spec.command, env)
        else:
            listening = self._socket(spec.id, replica)
            secret = self._secrets.setdefault(spec.id, secrets.token_urlsafe(32))
            command = (*spec.command, "--http", "--fd", str(listening.fileno()))
            child = await spawn(spec, command, {**env, "MCP_SERVER_SECRET": secret}, (listening.fileno(),))
            child.launched = replace(
                child.launched,
                url=f"http://127.0.0.1:{listening.getsockname()[1]}/mcp",
                headers={**spec.headers, "Authorization": f"Bearer {secret}"},
            )
        self.adopt(child.pid)
        return child

    async def end(self, child: Child) -> None:
        """End the child and everything in its group."""
        try:
            await child.end()
        finally:
            self.forget(child.pid)

    def adopt(self, pgid: int) -> None:
        """Have the process group `pgid` ended with us; for launched processes that are no servers, too."""
        self._groups.add(pgid)
        self._tell(f"+{pgid}\n")

    def forget(self, pgid: int) -> None:
        """The group has ended; its number may soon be somebody else's."""
        self._groups.discard(pgid)
        self._tell(f"-{pgid}\n")

    def release(self, id: str) -> None:
        """Give up the port and the secret of a server that will not come back."""
        for key in [key for key in self._sockets if key[0] == id]:
            self._sockets.pop(key).close()
        self._secrets.pop(id, None)

    async def close(self) -> None:
        """Let the reaper end what is left, and wait for it."""
        for id in {id for id, _ in self._sockets}:
            self.release(id)
        helper, self._reaper = self._reaper, None
        if helper is None:
            return
        os.close(self._pipe)
        self._pipe = -1
        await asyncio.to_thread(helper.wait)
        self._groups.clear()

    def _socket(self, id: str, replica: int) -> socket.socket:
        if (id, replica) not in self._sockets:
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listening.bind(("127.0.0.1", 0))
            listening.listen(512)
            listening.setblocking(False)
            self._sockets[id, replica] = listening
        return self._sockets[id, replica]

    def _start_reaper(self) -> None:
        read, self._pipe = os.pipe()  # neither end is inherited by any other child
        try:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__, self.mark],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        finally:
            os.close(read)

    def _tell(self, line: str) -> None:
        if self._reaper is None:
            return
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:  # somebody killed the reaper: its successor has to know all groups
            os.close(self._pipe)
            with contextlib.suppress(ProcessLookupError):
                self._reaper.send_signal(signal.SIGKILL)
            self._reaper.wait()
            self._start_reaper()
            os.write(self._pipe, "".join(f"+{g}\n" for g in self._groups).encode())
