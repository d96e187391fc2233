"""Launches server processes so that none of them can be left behind, whatever happens to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from secrets import token_hex, token_urlsafe

from workbench.events import JSON
from workbench.registry.processes import reaper
from workbench.registry.processes.child_environment import environment
from workbench.registry.processes.child_process import ChildProcess, spawn
from workbench.registry.processes.process_marks import ProcessMarks
from workbench.registry.server import ServerSpec
from workbench.secrets import SecretResolver, is_reference, remember_named

WATCH_INTERVAL_S = 2.0
"""How often the reaper is looked after."""


class Supervisor:
    """The children of one platform, and the reaper that ends them should we not.

    A bundled server inherits a listening socket that we keep open: a restarted server has the same port, and what
    connects meanwhile waits instead of being refused. Only who knows its secret is answered.

    Args:
        home: the state folder, where the mark of our processes is kept for those who come after us; None keeps none.
        told: called with what happened to the helpers themselves, and with details.
        secrets: resolves references in the environment of servers.
    """

    def __init__(
        self,
        home: Path | None = None,
        told: Callable[[str, JSON], None] = lambda event, detail: None,
        secrets: SecretResolver | None = None,
    ) -> None:
        self.mark = token_hex(16)
        self._marks = ProcessMarks(home) if home is not None else None
        self._told = told
        self._watching: asyncio.Task[None] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._groups: set[int] = set()
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._server_secrets: dict[str, str] = {}
        self._secrets = secrets

    async def open(self, *, launches: bool = True) -> None:
        """End what a killed predecessor left, then start the reaper. To be called before the first launch.

        Args:
            launches: whether something will be launched at once; otherwise the reaper starts with the first that is.
        """
        if self._watching is not None:
            return
        if self._marks is not None:
            left = await asyncio.to_thread(self._marks.take, self.mark)
            if left:
                self._told("orphans_ended", {"pids": left})
        if launches:
            self._start_reaper()
        self._watching = asyncio.create_task(self._watch(), name="watch over the reaper")

    @property
    def environment(self) -> dict[str, str]:
        """The mark that every process of ours carries, so that it is found whatever happens."""
        return {reaper.VARIABLE: self.mark}

    async def launch(self, spec: ServerSpec, replica: int = 0) -> ChildProcess:
        """Start the server of `spec` and return at once; whether it answers is found out by connecting.

        Args:
            spec: the server.
            replica: which of several it is; each has a port of its own.

        Raises:
            UnreachableError: it cannot be started, or a secret that it needs cannot be had.
        """
        self._need_reaper()
        env = environment(spec, self.environment)
        for name in spec.env:
            if is_reference(env[name]) and self._secrets is not None:
                env[name] = await self._secrets.fetch(env[name])
            remember_named(name, env[name])
        if spec.stdio:
            # inputs of a person may stand on the command line; what is shown of it keeps the reference
            words = tuple([await self.filled(word) for word in spec.command])
            child = await spawn(spec, words, env)
        else:
            listening = self._socket(spec.id, replica)
            secret = self._server_secrets.setdefault(spec.id, token_urlsafe(32))
            command = (*spec.command, "--http", "--fd", str(listening.fileno()))
            child = await spawn(spec, command, {**env, "MCP_SERVER_SECRET": secret}, (listening.fileno(),))
            child.launched = replace(
                child.launched,
                url=f"http://127.0.0.1:{listening.getsockname()[1]}/mcp",
                headers={**spec.headers, "Authorization": f"Bearer {secret}"},
            )
        self.adopt(child.pid)
        return child

    async def filled(self, text: str) -> str:
        """`text` of a configuration with the values of its secrets, for use and not for show.

        Raises:
            SecretNotFoundError: one of them cannot be had.
        """
        return text if self._secrets is None else await self._secrets.fetch(text)

    async def end(self, child: ChildProcess) -> None:
        """End the child and everything in its group."""
        try:
            await child.end()
        finally:
            self.forget(child.pid)

    def adopt(self, pgid: int) -> None:
        """Have the process group `pgid` ended with us; for launched processes that are no servers, too."""
        self._need_reaper()
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
        self._server_secrets.pop(id, None)

    async def close(self) -> None:
        """Let the reaper end what is left, and wait for it."""
        for id in {id for id, _ in self._sockets}:
            self.release(id)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            self._watching = None
        helper, self._reaper = self._reaper, None
        if helper is None:
            return
        os.close(self._pipe)
        self._pipe = -1
        await asyncio.to_thread(helper.wait)
        self._groups.clear()
        if self._marks is not None:
            self._marks.give_up()

    def _socket(self, id: str, replica: int) -> socket.socket:
        if (id, replica) not in self._sockets:
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listening.bind(("127.0.0.1", 0))
            listening.listen(512)
            listening.setblocking(False)
            self._sockets[id, replica] = listening
        return self._sockets[id, replica]

    def _need_reaper(self) -> None:
        if self._watching is not None and self._reaper is None:
            self._start_reaper()

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

    async def _watch(self) -> None:
        """Replace a reaper that somebody killed, before it is needed."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._reaper is not None and self._reaper.poll() is not None:
                self._replace()

    def _tell(self, line: str) -> None:
        if self._reaper is None:
            return
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:  # somebody killed the reaper
            self._replace()

    def _replace(self) -> None:
        """Start a reaper in place of one that died; it has to know all groups."""
        assert self._reaper is not None
        dead = self._reaper
        os.close(self._pipe)
        with contextlib.suppress(ProcessLookupError):
            dead.send_signal(signal.SIGKILL)
        dead.wait()
        self._start_reaper()
        os.write(self._pipe, "".join(f"+{g}\n" for g in self._groups).encode())
        self._told("reaper_replaced", {"pid": dead.pid, "groups": len(self._groups)})
