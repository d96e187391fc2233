"""The process of the app: Streamlit behind its guard, on a socket that whoever started it listens on.

`python -m workbench.serve.app_server --port 8501` serves it alone, on loopback; `workbench up` starts it beside the
platform. Either way a browser signs in with a link of `workbench app`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from workbench.access.app_sessions import AppSessions
from workbench.config import Settings, prepare_home
from workbench.platform.app_process import shipped
from workbench.platform.connection_limits import ConnectionCounts
from workbench.platform.ports import listen
from workbench.serve.app_guard import SIGN_IN_PATH, AppGuard, script_hashes
from workbench.serve.http_front import Front

HOST = "127.0.0.1"
GRACE_S = 1

OPTIONS: dict[str, Any] = {
    "runner.magicEnabled": False,  # a text that stands alone in a script is a docstring, not something to draw
    "server.headless": True,
    # a reloaded module defines its classes anew, and `match` does not know the objects of the old ones
    "server.fileWatcherType": "none",
    "server.enableStaticServing": False,
    "server.enableAgentApi": False,
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "server.baseUrlPath": "",
    "global.developmentMode": False,
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
}
"""Options of Streamlit that no file and no variable of the user may change here."""


def main(given: Sequence[str] | None = None) -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m workbench.serve.app_server", description="Serve the app alone.")
    parser.add_argument("--fd", type=int, help="An inherited socket that listens.")
    parser.add_argument("--port", default="8501", help="Port on 127.0.0.1, or auto.")
    options = parser.parse_args(given)
    settings = Settings.load()
    alone = options.fd is None
    bound = listen(HOST, options.port, "app") if alone else socket.socket(fileno=options.fd)
    port = int(bound.getsockname()[1])
    if alone:
        prepare_home(settings.home)
    sessions = AppSessions(settings.home, settings.app_session_seconds)
    if alone:
        sys.stdout.write(f"The app: http://{HOST}:{port}{SIGN_IN_PATH}?token={sessions.new_link()}\n")
        sys.stdout.flush()
    counts = ConnectionCounts.of(settings)
    asyncio.run(_serve(_guarded(settings, sessions, port), bound, counts))


def _guarded(settings: Settings, sessions: AppSessions, port: int) -> AppGuard:
    """The app's ASGI application."""
    import streamlit
    from streamlit import config

    script = shipped("dashboards") / "app.py"
    for name, value in OPTIONS.items():
        config.set_option(name, value)
    sys.path.insert(0, str(script.parent))  # as `streamlit run` does
    proof = os.environ["WORKBENCH_APP_PROOF"] = secrets.token_urlsafe(32)  # the script runs in this process
    assert streamlit.__file__ is not None
    public = settings.public_url.lower().rstrip("/").partition("://")[2]
    return AppGuard(
        streamlit.App(script),
        sessions,
        cookie=f"workbench_app_{port}",
        proof=proof,
        hosts=(*settings.allowed_hosts, *([public] if public else [])),
        origins=settings.allowed_origins,
        scripts=script_hashes(Path(streamlit.__file__).with_name("static") / "index.html"),
    )


async def _serve(app: AppGuard, bound: socket.socket, counts: ConnectionCounts) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, http=partial(Front, counts=counts), ws="websockets-sansio",  # type: ignore[arg-type]
        ws_max_size=200 << 20, access_log=False, server_header=False,
        proxy_headers=False, log_level="warning", timeout_graceful_shutdown=GRACE_S, lifespan="on",
    )  # fmt: skip
    await uvicorn.Server(config).serve(sockets=[bound])


if __name__ == "__main__":
    main()
