"""The page on which a person decides one waiting call: where MCP clients send their users.

It says nothing about a call before who asks has shown a key that may decide it. No script, and nothing from elsewhere.
"""

from __future__ import annotations

import json
import secrets
import time
from html import escape
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import Response

from workbench.access.api_keys import fingerprint
from workbench.access.oauth.consent import page
from workbench.access.oauth.throttle import Throttle
from workbench.bounded_dict import BoundedDict
from workbench.endpoint.elicitation import PAGE
from workbench.events import Caller, UnauthenticatedError, WorkbenchError
from workbench.platform.platform import Platform
from workbench.policy import Approval

VIA: Final = "page"
"""The door of a decision that is made here."""
COOKIE: Final = "workbench_approval"
VIEW_LIFETIME_S: Final = 600.0
MAX_WRONG_KEYS_PER_MINUTE: Final = 10
MAX_VIEWS: Final = 512
MAX_BYTES: Final = 64 << 10


class ApprovalView(NamedTuple):
    """Somebody who has shown a key and looks at one call in one browser."""

    key: str
    approval: str
    args_hash: str
    browser: bytes
    until: float


class ApprovalPage:
    """Answers `GET` and `POST /approvals/{id}`.

    Args:
        platform: whose approvals.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._looks: BoundedDict[str, ApprovalView] = BoundedDict(MAX_VIEWS)
        self._throttle = Throttle(time.monotonic)

    async def ask(self, request: Request, approval: str) -> Response:
        """The form that asks who is there; the same for every id."""
        response = _who(approval)
        browser = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
        https = request.url.scheme == "https" or self._platform.settings.public_url.startswith("https:")
        response.set_cookie(COOKIE, browser, path=PAGE, httponly=True, samesite="strict", secure=https)
        return response

    async def answer(self, request: Request, approval: str) -> Response:
        """A key, or a decision by somebody who has shown one."""
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in self._platform.access.resources.origins:
            return _problem("The form was sent by another page.", 403)
        body = await request.body()
        try:
            fields = {name: found[0] for name, found in parse_qs(body.decode(), max_num_fields=8).items()}
        except ValueError:
            fields = {}
        browser = fingerprint(request.cookies.get(COOKIE, ""))
        if len(body) > MAX_BYTES or not request.cookies.get(COOKIE):
            return _problem("Open the page anew; it needs a cookie.", 400)
        if "look" in fields:
            return await self._decide(request, approval, fields, browser)
        try:
            return await self._shown(request, approval, fields.get("key", "").strip(), browser)
        except UnauthenticatedError:
            address = self._platform.access.admission.addresses.of(request.scope)
            if self._throttle.wait(address, "approval", MAX_WRONG_KEYS_PER_MINUTE):
                return _who(approval, "Too many tries. Wait a minute.", 429)
            return _who(approval, "That is no valid key of this workbench.", 403)

    async def _shown(self, request: Request, approval: str, key: str, browser: bytes) -> Response:
        caller = await self._person(key, request)
        if not caller.has("approvals:decide"):
            return _problem("This key may not decide approvals.", 403)
        found = next((each for each in await self._platform.approvals(caller) if each.id == approval), None)
        if found is None:
            return _problem("Nothing of that name waits for a decision.", 404)
        now = time.monotonic()
        for token in [token for token, look in self._looks.items() if now >= look.until]:
            del self._looks[token]
        token = secrets.token_urlsafe(32)
        self._looks[token] = ApprovalView(key, approval, found.args_hash, browser, now + VIEW_LIFETIME_S)
        return _call(found, token)

    async def _decide(self, request: Request, approval: str, fields: dict[str, str], browser: bytes) -> Response:
        look = self._looks.pop(fields["look"], None)
        same = look is not None and secrets.compare_digest(look.browser, browser) and look.approval == approval
        if look is None or not same or time.monotonic() >= look.until:
            return _problem("This page is too old. Open it anew.", 400)
        yes = fields.get("decision") == "approve"
        try:
            caller = await self._person(look.key, request)  # it may have been revoked meanwhile
            decided = await self._platform.decide(
                approval, yes, caller, via=VIA, note=fields.get("note", ""), seen=look.args_hash if yes else ""
            )
        except WorkbenchError as e:
            return _problem(str(e), 403 if isinstance(e, UnauthenticatedError) else 400)
        words = {"denied": "Denied", "approved": "Approved", "pending": "Noted; others have to agree, too"}
        return page(
            f"{words.get(decided.status, 'Done')}.",
            f"<p><code>{escape(decided.tool)}</code></p><p>You can close this page.</p>",
        )

    async def _person(self, key: str, request: Request) -> Caller:
        caller = await self._platform.authenticate([f"Bearer {key}"], request.scope, door="approval page")
        if caller.method not in ("key", "local"):
            raise UnauthenticatedError("Not a key.")
        return caller


def approval_page(api: FastAPI, platform: Platform) -> None:
    """Add the page."""
    desk = ApprovalPage(platform)
    api.add_api_route(PAGE + "{approval}", desk.ask, methods=["GET"], include_in_schema=False, response_model=None)
    api.add_api_route(PAGE + "{approval}", desk.answer, methods=["POST"], include_in_schema=False, response_model=None)


def _who(approval: str, wrong: str = "", status: int = 200) -> Response:
    return page(
        "A tool call waits for a human",
        f"""<form method="post" action="{PAGE}{escape(approval)}">
<p class="wrong" role="alert">{escape(wrong)}</p>
<label>Your key of this workbench
<input type="password" name="key" autocomplete="off" autofocus></label>
<p>The key stays here. Your own is in the file <code>token</code> of the state folder.</p>
<button>Look at the call</button></form>""",
        status,
    )


def _call(approval: Approval, token: str) -> Response:
    arguments = escape(json.dumps(approval.arguments, ensure_ascii=False, indent=1))
    params = escape(json.dumps(approval.params, ensure_ascii=False, indent=1))
    beside = f"<p>Beside its arguments the tool would get:</p><pre>{params}</pre>"
    agreed = ", ".join(vote.by for vote in approval.votes)
    several = f"<p>{approval.approvers} people have to agree. So far: {escape(agreed) or 'nobody'}.</p>"
    changed = f"<p>{escape(approval.edited_by)} has changed the arguments.</p>"
    return page(
        "Run exactly this call, once?",
        f"""<p><b>{escape(approval.subject)}</b> wants to call <code>{escape(approval.tool)}</code>,
through {escape(approval.source)}, with:</p><pre>{arguments}</pre>
{beside if approval.params else ""}{changed if approval.edited_by else ""}{several if approval.approvers > 1 else ""}
<form method="post" action="{PAGE}{escape(approval.id)}"><input type="hidden" name="look" value="{token}">
<label>Note for the record <input name="note" maxlength="2000"></label>
<button name="decision" value="approve">Approve</button><button name="decision" value="deny">Deny</button></form>""",
    )


def _problem(words: str, status: int) -> Response:
    return page("This cannot be done", f'<p class="wrong">{escape(words)}</p>', status)
