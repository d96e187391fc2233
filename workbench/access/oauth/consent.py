"""The page on which a person lets a client in, and what is kept until they have decided."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from html import escape
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from starlette.responses import HTMLResponse, Response

from workbench.access.api_keys import fingerprint
from workbench.access.oauth.clients import RegisteredClient
from workbench.access.oauth.redirect_uris import LOOPBACK, source
from workbench.control import ControlStore

PENDING_LIFETIME_S = 600.0
MAX_PENDING = 512
MAX_TRIES = 5
"""Wrong keys until the request is void."""
COOKIE = "workbench_consent"

_TABLE = """
create table if not exists oauth_requests (
  id text primary key, asked blob not null, browser text not null, expires_us integer not null, tries integer not null
) strict;
"""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.3rem } code { background: #f0f0f0; padding: .1em .3em } label { display: block; margin: .3rem 0 }
input[type=password] { width: 100%; padding: .5rem; font: inherit; box-sizing: border-box }
button { font: inherit; padding: .5rem 1.2rem; margin: 1rem .5rem 0 0 } .wrong { color: #a40000 }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #eee } code { background: #333 } }
"""


class AuthorizationRequest(NamedTuple):
    """A valid authorization request."""

    client: RegisteredClient
    redirect_uri: str
    given_redirect: bool
    """Whether the request named the redirect URI; then the token request has to name it too."""
    state: str
    challenge: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]


class PendingAuthorizations:
    """Requests that wait for a person, each bound to the browser it was shown in; any gateway may get the answer.

    Args:
        store: the control store.
        clock: microseconds since the epoch.
    """

    def __init__(self, store: ControlStore, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        store.prepare("consent", _TABLE)

    def add(self, asked: AuthorizationRequest, browser: str) -> str:
        """Keep a request; the value names it in the form."""
        now, id = self._clock(), secrets.token_urlsafe(32)
        self._store.change(
            "delete from oauth_requests where expires_us <= ? or id not in "
            "(select id from oauth_requests order by expires_us desc, id limit ?)",
            now, MAX_PENDING - 1,
        )  # fmt: skip
        self._store.change(
            "insert into oauth_requests values (?, ?, ?, ?, 0)",
            _mark(id), msgspec.json.encode(asked), _mark(browser), now + int(PENDING_LIFETIME_S * 1_000_000),
        )  # fmt: skip
        return id

    def find(self, id: str, browser: str) -> AuthorizationRequest | None:
        """The request, when it still waits and was shown in this browser."""
        query = "select asked, browser from oauth_requests where id = ? and expires_us > ?"
        row = self._store.row(query, _mark(id), self._clock())
        if row is None or not secrets.compare_digest(row[1], _mark(browser)):
            return None
        return msgspec.json.decode(row[0], type=AuthorizationRequest)

    def wrong_key(self, id: str) -> bool:
        """Count a wrong key. False when the request is void by that."""
        tried = self._store.row("update oauth_requests set tries = tries + 1 where id = ? returning tries", _mark(id))
        if tried is not None and tried[0] < MAX_TRIES:
            return True
        self.take(id)
        return False

    def take(self, id: str) -> bool:
        """Decide it: True once, for whoever is first."""
        return self._store.change("delete from oauth_requests where id = ?", _mark(id)) == 1


def _mark(secret: str) -> str:
    return fingerprint(secret).hex()


def consent_page(asked: AuthorizationRequest, id: str, *, wrong: str = "", status: int = 200) -> Response:
    """What the client asks for, and the form that answers it."""
    client = asked.client
    where = urlsplit(asked.redirect_uri)
    receiver = "a program on this computer" if where.hostname in LOOPBACK or not where.netloc else where.netloc
    known = {
        "made": "It was added by whoever runs this workbench.",
        "registered": "It registered itself under this name; nobody has checked it.",
        "document": f"It is described at <code>{escape(client.id)}</code>; the name is its own claim.",
    }[client.kind]
    box = '<label><input type="checkbox" name="scope:{0}" value="1" checked> <code>{0}</code></label>'
    boxes = "".join(box.format(escape(scope)) for scope in asked.scopes)
    resources = ", ".join(f"<code>{escape(each)}</code>" for each in asked.resources)
    return page(
        f"Let {escape(client.name)} in?",
        f"""<p><b>{escape(client.name)}</b> asks to use {resources} in your name. {known}
The answer goes to <b>{escape(receiver)}</b>.</p>
<form method="post" action="/oauth/authorize">
<input type="hidden" name="request" value="{escape(id)}">
<p>It may have, as far as you have it yourself:</p>{boxes}
<p class="wrong" role="alert">{escape(wrong)}</p>
<label>Your key of this workbench
<input type="password" name="key" autocomplete="off" autofocus></label>
<p>The key stays here. Your own is in the file <code>token</code> of the state folder.</p>
<button name="decision" value="approve">Allow</button><button name="decision" value="deny">Deny</button>
</form>""",
        status,
        source(asked.redirect_uri),
    )


def error_page(words: str, status: int = 400) -> Response:
    """What is wrong, told to a person; nobody is sent anywhere."""
    return page("This request cannot be answered", f'<p class="wrong">{escape(words)}</p>', status, "")


def page(title: str, content: str, status: int = 200, target: str = "") -> Response:
    """A page of ours: no script, nothing from elsewhere, in nobody's frame.

    Args:
        title: of the page; markup.
        content: markup.
        target: where else the answer to its form may lead.
    """
    nonce = secrets.token_urlsafe(16)
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style nonce="{nonce}">{_STYLE}</style></head>'
        f"<body><h1>{title}</h1>{content}</body></html>"
    )
    # Browsers hold `form-action` against the redirect that answers a form as well, so its target is named.
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self' {target}; frame-ancestors 'none'; "
        "base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(html, status, headers)
