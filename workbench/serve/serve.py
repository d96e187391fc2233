"""`workbench up` from the inside: platform, gateway endpoint, management API and app in one process group."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from socket import socket
from typing import Any

import uvicorn

import workbench
from workbench.access.app_sessions import AppSessions
from workbench.access.certificates.tls_context import TlsContext
from workbench.config import Settings, prepare_home
from workbench.events import MisuseError
from workbench.platform.app_process import AppProcess
from workbench.platform.platform import Platform, Progress
from workbench.platform.ports import listen
from workbench.platform.run_file import RunningPlatform, announce, find_running, process_started, told, withdraw
from workbench.serve.event_lines import EventLines
from workbench.serve.http_front import Front
from workbench.serve.tls_front import open_tls, protocol

ASGI = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Ready = Callable[[RunningPlatform, Platform], None]

YOUNG = 20_000
"""Objects made, less those gone again, until the youngest are searched for cycles. Few calls leave any behind."""

MAX_OPEN_FILES = 65_536
"""Every client holds one, and every call under way another."""

SWITCH_S = 0.001
"""Seconds after which a thread that computes hands the interpreter to one that waits: five times sooner than usual."""

GRACE_S = 1
"""Seconds that requests in flight get when the platform is asked to stop."""


async def serve(settings: Settings, build_app: Callable[[Platform], ASGI], *, progress: Progress, ready: Ready) -> None:
    """Run until SIGINT or SIGTERM; then stop everything, so that no child is left and the log is sealed.

    Args:
        settings: as loaded.
        build_app: makes the ASGI application over the platform.
        progress: told in words what is being started.
        ready: called once when calls can be answered.

    Raises:
        MisuseError: a platform already runs on this state folder, or a port is taken.
    """
    prepare_home(settings.home)
    raise_open_files()
    running = find_running(settings.home)
    if running is not None:
        raise MisuseError(
            f"A platform already runs on {settings.home}: {running.url} (process {running.pid}).",
            hint="Use it, stop it, or give this one another state folder with --home.",
        )
    bound = listen(settings.host, settings.port, "gateway")
    app_bound = listen(settings.app_host, settings.app_port, "app") if settings.app else None
    settings = settings.replace(port=str(bound.getsockname()[1]))  # `auto` is over: tokens are for this very URL
    if app_bound is not None:
        settings = settings.replace(app_port=str(app_bound.getsockname()[1]))
    secured = listen(settings.tls_host, settings.tls_port, "tls") if settings.tls_port else None
    if secured is not None:
        settings = settings.replace(tls_port=str(secured.getsockname()[1]))
    with _stopping() as stop, contextlib.ExitStack() as sockets:
        for each in (bound, app_bound, secured):
            if each is not None:
                sockets.enter_context(contextlib.closing(each))
        tls = await open_tls(settings) if secured is not None else None
        platform = await stop.unless_asked(Platform.open(settings, progress=progress))
        mark = platform.registry.supervisor.environment
        app = None
        if app_bound is not None:
            AppSessions(settings.home).clear()  # who was signed in at the platform before
            app = AppProcess(settings, app_bound, adopt=platform.adopt, environment=mark)
        try:
            if app is not None:
                await app.start()
            await platform.start_compactor()
            asgi = build_app(platform)
            server = _Server(asgi, settings.max_request_bytes, http=partial(Front, counts=platform.connections))
            server.when_started = lambda: _announce(settings, platform, bound.getsockname()[1], app, ready)
            lines = EventLines(platform, progress)
            stop.ask = server.ask_to_stop
            following = asyncio.create_task(lines.follow(), name="lines about what happens")
            async with _listening(asgi, settings, platform, tls, secured):
                await server.serve(sockets=[bound])
            following.cancel()
            platform.registry.on_event.clear()  # servers that we end are no news
        finally:
            if tls is not None:
                tls.identity.close()
            withdraw(settings.home)
            progress("stopping …")
            if app is not None:
                await app.close()
            await platform.close()


@contextlib.asynccontextmanager
async def _listening(
    asgi: ASGI, settings: Settings, platform: Platform, tls: TlsContext | None, bound: socket | None
) -> AsyncIterator[None]:
    """Serve the same application with TLS meanwhile, where that is asked for."""
    if tls is None or bound is None:
        yield
        return
    server = _Server(
        asgi, settings.max_request_bytes, tls=tls, http=protocol(tls, platform.access.peers, platform.connections)
    )
    serving = asyncio.create_task(server.serve(sockets=[bound]), name="listener with TLS")
    try:
        yield
    finally:
        server.ask_to_stop()
        await asyncio.gather(serving, return_exceptions=True)


def _announce(settings: Settings, platform: Platform, port: int, app: AppProcess | None, ready: Ready) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    started = process_started(os.getpid())
    assert started is not None
    running = RunningPlatform(
        url=f"http://{host}:{port}",
        app_url=app.url if app else "",
        pid=os.getpid(),
        started=started,
        token=platform.access.local_key(),
        version=workbench.__version__,
        settings=told(settings),
    )
    announce(settings.home, running)
    spare_collector()
    sys.setswitchinterval(SWITCH_S)
    ready(running, platform)


def raise_open_files() -> None:
    """Allow this process as many open files as it may have, up to `MAX_OPEN_FILES`: 1,024 are soon used up."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def spare_collector() -> None:
    """Keep the cycle collector from looking through what lives as long as the platform, again and again.

    With the usual thresholds it takes a tenth of the time of every call. Cycles are still found, in larger portions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, and leaves signals to us: it re-raises SIGTERM before we could clean up."""

    def __init__(self, asgi: ASGI, largest: int, *, tls: TlsContext | None = None, http: Any = Front) -> None:
        self.when_started: Callable[[], None] = lambda: None
        super().__init__(
            uvicorn.Config(
                asgi, http=http, ws="websockets-sansio", ws_max_size=largest, ws_per_message_deflate=False,
                lifespan="off", log_level="warning", access_log=False, server_header=False, proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S, backlog=1024,
                ssl_context_factory=None if tls is None else lambda config, default: tls.context,
            )
        )  # fmt: skip

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self.when_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def ask_to_stop(self) -> None:
        self.force_exit = self.should_exit  # the second Ctrl-C does not wait for requests in flight
        self.should_exit = True


class _Stop:
    """What a signal does now: cancel the start, or ask the server to stop."""

    def __init__(self) -> None:
        self.ask: Callable[[], Any] = lambda: None

    async def unless_asked(self, work: Any) -> Any:
        """Await `work`; a signal cancels it and ends the process as interrupted."""
        task = asyncio.ensure_future(work)
        self.ask = task.cancel
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


@contextlib.contextmanager
def _stopping() -> Iterator[_Stop]:
    stop, loop = _Stop(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, lambda: stop.ask())
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
