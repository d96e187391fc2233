"""The app's door: nothing of it is answered without a session, and a session begins with a link that works once."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from workbench.access.app_sessions import MAX_LINKS, AppSessions
from workbench.config import Settings
from workbench.events import MisuseError
from workbench.serve.app_guard import PROOF_HEADER, AppGuard, script_hashes

COOKIE = "workbench_app_8501"
ORIGIN = "http://127.0.0.1:8501"


class Inner:
    """Stands for Streamlit: remembers what reached it, and answers."""

    def __init__(self) -> None:
        self.reached: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope)
        if scope["type"] == "websocket":
            while (message := await receive())["type"] != "websocket.disconnect":
                self.received.append(message)
                if message["type"] == "websocket.connect":
                    await send({"type": "websocket.accept"})
            return
        headers = [(b"access-control-allow-origin", b"*"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"inner"})


class Door:
    """A guard over `Inner`, and requests to it."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.inner, self.sessions = Inner(), AppSessions(home)
        self.guard = AppGuard(self.inner, self.sessions, cookie=COOKIE, proof="right", **options)

    def session(self) -> str:
        session = self.sessions.redeem(self.sessions.new_link())
        assert session is not None
        return session

    def ask(
        self,
        path: str = "/",
        *headers: tuple[str, str],
        method: str = "GET",
        query: str = "",
        host: str = "127.0.0.1:8501",
        session: str = "",
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of an answer."""
        return asyncio.run(self._ask(path, headers, method, query, host, session))

    async def _ask(self, path: str, headers: Any, method: str, query: str, host: str, session: str) -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.guard(
            {
                "type": "http", "method": method, "path": path, "query_string": query.encode(), "scheme": "http",
                "headers": pairs(host, headers, session),
            },
            receive,
            send,
        )  # fmt: skip
        named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], named, sent[1]["body"].decode()

    def dial(self, *headers: tuple[str, str], session: str = "", host: str = "127.0.0.1:8501") -> list[Any]:
        """What the guard sends to a client that opens the WebSocket and leaves."""
        sent: list[Any] = []
        coming = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

        async def receive() -> Any:
            return next(coming)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/_stcore/stream", "headers": pairs(host, headers, session)}
        asyncio.run(self.guard(scope, receive, send))
        return sent


def pairs(host: str, headers: Any, session: str) -> list[tuple[bytes, bytes]]:
    cookie = [("cookie", f"other=1; {COOKIE}={session}")] if session else []
    named = [("host", host), *headers, *cookie]
    return [(name.encode(), value.encode()) for name, value in named]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


PATHS = [
    "/", "/tools", "/static/js/index.js", "/media/0.csv", "/_stcore/health", "/_stcore/host-config", "/_stcore/metrics",
    "/_stcore/upload_file/a/b", "/_stcore/agent/interact", "/_stcore/agent/mcp", "/component/x/y", "/app/static/a",
    "/auth/login", "/sign-out", "//", "/sign-in/", "/..%2f_stcore/health", "/favicon.png",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("session", ["", "guessed", "../sessions", "x" * 5000, "é"])
def test_no_path_is_answered_without_a_session(door: Door, path: str, session: str) -> None:
    status, _, text = door.ask(path, session=session)
    assert status == 401
    assert "workbench app" in text
    assert door.inner.reached == []


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY"])
def test_no_method_is_answered_without_a_session(door: Door, method: str) -> None:
    assert door.ask("/_stcore/upload_file/a/b", ("origin", ORIGIN), method=method)[0] == 401
    assert door.inner.reached == []


def test_a_link_signs_one_browser_in_and_never_again(door: Door) -> None:
    token = door.sessions.new_link()
    status, headers, _ = door.ask("/sign-in", query=f"token={token}")
    assert status == 200
    cookie = headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    session = cookie.partition("=")[2].partition(";")[0]
    assert door.ask("/", session=session)[2] == "inner"
    assert door.ask("/sign-in", query=f"token={token}")[0] == 401
    status, headers, _ = door.ask("/sign-in", query=f"token={token}", session=session)
    assert (status, "set-cookie" in headers) == (200, False)  # the same browser, going back


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "QUERY"])
def test_only_opening_a_link_uses_it_up(door: Door, method: str) -> None:
    token = door.sessions.new_link()
    door.ask("/sign-in", ("origin", ORIGIN), query=f"token={token}", method=method)
    assert door.ask("/sign-in", query=f"token={token}")[0] == 200


@pytest.mark.parametrize("query", ["", "token=", "token=%00", "token=../../run.json", "token=" + "a" * 100_000])
def test_what_is_no_link_is_refused(door: Door, query: str) -> None:
    assert door.ask("/sign-in", query=query)[0] == 401


def test_a_link_and_a_session_end_by_themselves(tmp_path: Path) -> None:
    sessions = AppSessions(tmp_path, seconds=-1)
    assert sessions.redeem(sessions.new_link(seconds=-1)) is None
    session = sessions.redeem(sessions.new_link())
    assert session is not None
    assert sessions.expires(session) is None


def test_what_the_state_folder_holds_cannot_be_presented_and_is_its_owners(tmp_path: Path) -> None:
    sessions = AppSessions(tmp_path)
    token = sessions.new_link()
    (file,) = (tmp_path / "app" / "links").iterdir()
    assert token not in file.name + file.read_text()
    assert sessions.redeem(file.name) is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_links_that_nobody_uses_do_not_pile_up(tmp_path: Path) -> None:
    sessions = AppSessions(tmp_path)
    links = [sessions.new_link() for _ in range(MAX_LINKS + 5)]
    assert len(list((tmp_path / "app" / "links").iterdir())) == MAX_LINKS
    assert sessions.redeem(links[-1]) is not None


def test_signing_out_ends_the_session_and_only_a_page_of_the_app_can_ask_for_it(door: Door) -> None:
    session = door.session()
    assert door.ask("/sign-out", session=session)[0] == 405
    assert door.ask("/sign-out", session=session, method="POST")[0] == 403
    assert door.ask("/sign-out", ("origin", ORIGIN), session=session, method="POST")[0] == 200
    assert door.ask("/", session=session)[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "", "localhost.", "0"])
def test_another_host_is_not_served_whoever_is_signed_in(door: Door, host: str) -> None:
    session = door.session()
    assert door.ask("/", session=session, host=host)[0] == 421
    assert "websocket.accept" not in str(door.dial(("origin", f"http://{host}"), session=session, host=host))
    assert door.inner.reached == []


@pytest.mark.parametrize("name", ["host", "origin", "content-type"])
def test_a_header_that_stands_there_twice_is_refused(door: Door, name: str) -> None:
    values = {"host": "127.0.0.1:8501", "origin": ORIGIN, "content-type": "text/plain"}
    doubled = [(name, values[name])] * (1 if name == "host" else 2)
    assert door.ask("/", *doubled, session=door.session())[0] == 400


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8501", "file://"),
        *("https://x@127.0.0.1:8501", "http://127.0.0.1:8501.evil.example", "http://127.0.0.1:8501/"),
    ],
)
def test_a_page_from_elsewhere_gets_neither_socket_nor_upload(door: Door, origin: str) -> None:
    session = door.session()
    assert door.dial(("origin", origin), session=session) == [{"type": "websocket.close", "code": 1008}]
    assert door.ask("/_stcore/upload_file/a/b", ("origin", origin), session=session, method="PUT")[0] == 403
    assert door.ask("/media/0.csv", ("origin", origin), session=session)[0] == 403
    assert door.inner.reached == []


def test_a_socket_needs_an_origin_and_a_session(door: Door) -> None:
    session = door.session()
    assert door.dial(session=session) == [{"type": "websocket.close", "code": 1008}]
    assert door.dial(("origin", ORIGIN)) == [{"type": "websocket.close", "code": 1008}]
    assert door.dial(("origin", ORIGIN), session=session) == [{"type": "websocket.accept"}]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_cannot_load_parts_of_the_app(door: Door, site: str) -> None:
    session = door.session()
    loading = [("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")]
    assert door.ask("/media/0.csv", *loading, session=session)[0] == 403
    assert door.ask("/", ("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), session=session)[0] == 200


def test_a_session_that_ends_closes_its_open_sockets(door: Door) -> None:
    session, sent = door.session(), []

    async def receive() -> Any:
        if not sent:
            return {"type": "websocket.connect"}
        door.sessions.end(session)
        return {"type": "websocket.receive", "bytes": b"run"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/_stcore/stream"}
    headers = pairs("127.0.0.1:8501", [("origin", ORIGIN)], session)
    asyncio.run(door.guard({**scope, "headers": headers}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert [message["type"] for message in door.inner.received] == ["websocket.connect"]


def test_a_socket_nobody_speaks_on_is_closed_when_the_session_is_over(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.sessions.seconds = 0.05
    session, sent = door.session(), []
    first = [{"type": "websocket.connect"}]

    async def receive() -> Any:
        if first:
            return first.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    headers = pairs("127.0.0.1:8501", [("origin", ORIGIN)], session)
    asyncio.run(door.guard({"type": "websocket", "path": "/_stcore/stream", "headers": headers}, receive, send))
    assert sent[-1] == "websocket.close"


def test_streamlit_sees_the_proof_and_not_the_cookie(door: Door) -> None:
    door.ask("/", (PROOF_HEADER.decode(), "forged"), ("cookie", "a=b"), session=door.session())
    (scope,) = door.inner.reached
    assert [v for k, v in scope["headers"] if k == PROOF_HEADER] == [b"right"]
    assert [v for k, v in scope["headers"] if k == b"cookie"] == [b"a=b", b"other=1"]


def test_every_answer_says_that_nothing_is_loaded_from_elsewhere(door: Door) -> None:
    for session in ("", door.session()):
        _, headers, _ = door.ask("/", session=session)
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert "*" not in headers["content-security-policy"]
        assert policy["frame-ancestors"] == "'none'"
        assert "access-control-allow-origin" not in headers
        assert headers["referrer-policy"] == "no-referrer"
    assert policy["img-src"] == "'self' data: blob:"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:8501 wss://127.0.0.1:8501"
    assert "unsafe-inline" not in policy["script-src"]


def test_names_of_a_proxy_are_accepted_when_they_are_settings(tmp_path: Path) -> None:
    door = Door(tmp_path, hosts=["tools.example"], origins=["https://portal.example/"])
    session = door.session()
    assert door.ask("/", session=session, host="tools.example")[0] == 200
    for origin in ("https://tools.example", "https://portal.example"):
        assert door.dial(("origin", origin), session=session, host="tools.example") == [{"type": "websocket.accept"}]


def test_scripts_inside_the_page_are_allowed_by_their_hash(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("<script>a = 1</script><script src='x.js'></script>")
    assert script_hashes(page) == ["'sha256-tbwf/ZCRL7GL7259gJCRksemSSiWMgFW1n+68QTGVEo='"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "tools.example"])
def test_the_app_is_not_bound_beyond_this_machine(tmp_path: Path, host: str) -> None:
    with pytest.raises(MisuseError, match="whoever uses the app acts as the owner") as refused:
        Settings.load(env={}, cwd=tmp_path, home=tmp_path / "home", app_host=host)
    assert "tunnel" in refused.value.hint
