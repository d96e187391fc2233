"""Listening sockets, and who holds a port that is taken."""

from __future__ import annotations

import errno
import socket
from typing import Final

from workbench.events import MisuseError

OPTIONS: Final = {"gateway": "--port", "app": "--app-port", "tls": "--tls-port"}
"""The option of `workbench up` that chooses the port of each listener."""


def listen(host: str, port: str, what: str) -> socket.socket:
    """A bound and listening socket.

    Args:
        host: address to bind to.
        port: a number, or `auto` for a free one.
        what: what the port is for, for the error message; a key of `OPTIONS`.

    Raises:
        MisuseError: the port is taken (the message names the process that holds it), or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, 0 if port == "auto" else int(port)))
        bound.listen(1024)
    except OSError as e:
        bound.close()
        if e.errno == errno.EADDRINUSE:
            raise MisuseError(
                f"Port {port} for the {what} is in use by {holder(int(port))}.",
                hint=f"Stop it, or use another port: `workbench up {OPTIONS[what]} auto` takes a free one.",
            ) from e
        raise MisuseError(
            f"{host}:{port} cannot be used for the {what}: {e.strerror}.", hint="Check host and port."
        ) from e
    bound.setblocking(False)
    return bound


def free(host: str, port: str, what: str) -> int:
    """A port that nobody listens on now. Raises as `listen`."""
    bound = listen(host, port, what)
    number: int = bound.getsockname()[1]
    bound.close()
    return number


def holder(port: int) -> str:
    """The process that listens on `port`, in words."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS lets only root look
        return "another process"
    pids = [c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port and c.pid]
    if not pids:
        return "a process of another user"
    try:
        process = psutil.Process(pids[0])
        return f"{process.name()} (process {process.pid}: {' '.join(process.cmdline())[:120]})"
    except psutil.Error:
        return f"process {pids[0]}"
