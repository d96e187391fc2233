"""Approvals in Slack, from the card to the decision, against a stand-in that speaks Slack's API over HTTP.

The stand-in checks tokens and forms as Slack documents them and keeps the messages; clicks are signed with the secret.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from tests.asgi import listening
from tests.sample_company import sample_servers
from workbench.api import build_app
from workbench.config import Settings
from workbench.events import JSON, Call, Caller, MisuseError
from workbench.platform.platform import Platform
from workbench.policy.approvals.slack import SECRET, TOKEN, SlackChannel, read_approvers
from workbench.testing import GatewayHarness

slack_sdk = pytest.importorskip("slack_sdk")
from slack_sdk.signature import SignatureVerifier  # noqa: E402

BOT, SIGNING = "xoxb-1-test", "8f742231b10e8888abcd99yyyzzz85a5"


class Slack:
    """One workspace: T1, with channel C1."""

    def __init__(self) -> None:
        self.messages: dict[str, JSON] = {}
        self.told: list[JSON] = []
        self.fail = ""
        self.changed = asyncio.Event()
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        answer = self.answer(scope["path"].removeprefix("/api/"), json.loads(body), headers)
        data = json.dumps(answer).encode()
        kind = (b"content-type", b"application/json; charset=utf-8")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        await send({"type": "http.response.body", "body": data})
        self.changed.set()

    def answer(self, method: str, asked: JSON, headers: dict[str, str]) -> JSON:
        if headers.get("authorization") != f"Bearer {BOT}":
            return {"ok": False, "error": "invalid_auth"}
        if self.fail:
            return {"ok": False, "error": self.fail}
        for block in asked.get("blocks", []):
            assert set(block) >= {"type"}
            for text in _texts(block):
                assert text["type"] == "plain_text"
                assert 0 < len(text["text"]) <= 3000
        if method == "chat.postMessage":
            ts = f"{1700000000 + len(self.messages)}.0001"
            self.messages[ts] = asked
            return {"ok": True, "channel": asked["channel"], "ts": ts}
        if method == "chat.update":
            if asked["ts"] not in self.messages:
                return {"ok": False, "error": "message_not_found"}
            self.messages[asked["ts"]] = asked
            return {"ok": True, "channel": asked["channel"], "ts": asked["ts"]}
        if method == "chat.postEphemeral":
            self.told.append(asked)
            return {"ok": True}
        return {"ok": False, "error": "unknown_method"}

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def buttons(self) -> dict[str, JSON]:
        (message,) = list(self.messages.values())[-1:]
        found = [e for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]]
        return {b["action_id"].removeprefix("workbench_"): b for b in found}


def _texts(block: JSON) -> list[JSON]:
    found = [block["text"]] if "text" in block else []
    for element in block.get("elements", []):
        found += [element] if element["type"] == "plain_text" else [element["text"], *_confirm(element)]
    return found


def _confirm(element: JSON) -> list[JSON]:
    return [element["confirm"][part] for part in ("title", "text", "confirm", "deny")]


def click(button: JSON, user: str = "U1", team: str = "T1", **changed: Any) -> bytes:
    payload = {
        "type": "block_actions", "team": {"id": team}, "user": {"id": user}, "channel": {"id": "C1"},
        "actions": [{"type": "button", "action_id": button["action_id"], "value": button["value"]}], **changed,
    }  # fmt: skip
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, *, secret: str = SIGNING, at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    assert signature is not None
    kind = "application/x-www-form-urlencoded"
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature, "Content-Type": kind}


APPROVERS = """
[[approver]]
team = "T1"
user = "U1"
subject = "mary"
roles = ["manager"]
[[approver]]
team = "T1"
user = "U2"
subject = "eve"
roles = ["employee"]
[[approver]]
team = "T1"
user = "U3"
subject = "ann"
roles = ["owner"]
[[approver]]
team = "T1"
user = "U4"
subject = "mary"
roles = ["manager"]
tenant = "globex"
"""


class Desk:
    """A platform whose approvals go to the stand-in."""

    def __init__(self, platform: Platform, slack: Slack) -> None:
        self.platform = platform
        self.slack = slack
        self.app = build_app(platform)

    @property
    def ann(self) -> Caller:
        return Caller(tenant=self.platform.settings.tenant, subject="ann", roles=("owner",), scopes=frozenset({"*"}))

    async def ask(self, reason: str) -> str:
        """A destructive call; gives the approval that it waits for, once its card is there."""
        tool = next(t for t in self.platform.tools(self.ann) if t.qualified == "tickets.close_ticket")
        before = len(self.slack.messages)
        arguments = {"ticket_id": "T-00001", "reason": reason}
        outcome = await self.platform.call(Call(caller=self.ann, tool=tool.qualified, arguments=arguments))
        assert outcome.kind == "approval_required", outcome
        await self.slack.until(lambda: len(self.slack.messages) > before or self.slack.fail)
        return str(outcome.details["approval"])

    async def post(self, body: bytes, headers: dict[str, str]) -> int:
        transport = httpx2.ASGITransport(app=self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8800") as client:
            return (await client.post("/slack/interactivity", content=body, headers=headers)).status_code

    def status(self, approval: str) -> str:
        found = self.platform.policy.approvals.get(approval)
        assert found is not None
        return found.status


@pytest.fixture
async def desk(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv(TOKEN, BOT)
    monkeypatch.setenv(SECRET, SIGNING)
    (tmp_path / "approvers.toml").write_text(APPROVERS)
    slack = Slack()
    async with listening(slack) as server:
        slack.url = f"http://127.0.0.1:{server.port}/api/"
        options = {
            "slack_channel": "C1", "slack_approvers": tmp_path / "approvers.toml", "slack_api_url": slack.url,
        }  # fmt: skip
        async with GatewayHarness(sample_servers(("tickets",), settings.home), base=settings, **options) as harness:
            yield Desk(harness.platform, slack)


async def test_a_click_of_an_approver_lets_exactly_this_call_happen_and_the_card_says_who_decided(desk: Desk) -> None:
    approval = await desk.ask("T-1")
    buttons = desk.slack.buttons()
    assert {b["value"] for b in buttons.values()} == {approval}
    body = click(buttons["approve"])
    assert await desk.post(body, signed(body)) == 200
    assert desk.status(approval) == "approved"
    await desk.slack.until(lambda: not desk.slack.buttons())
    assert "Approved by mary via slack" in json.dumps(desk.slack.messages)
    decided = desk.platform.policy.approvals.get(approval)
    assert decided is not None
    assert (decided.decided_by, decided.decided_via) == ("mary", "slack")
    arguments = {"ticket_id": "T-00001", "reason": "T-1"}
    again = await desk.platform.call(Call(caller=desk.ann, tool="tickets.close_ticket", arguments=arguments))
    assert again.kind in ("ok", "tool_error")
    assert desk.status(approval) == "used"


async def test_deny_denies(desk: Desk) -> None:
    approval = await desk.ask("T-2")
    body = click(desk.slack.buttons()["deny"])
    assert await desk.post(body, signed(body)) == 200
    assert desk.status(approval) == "denied"


async def test_whoever_is_not_slack_decides_nothing(desk: Desk) -> None:
    approval = await desk.ask("T-3")
    body = click(desk.slack.buttons()["approve"])
    now = time.time()
    good = signed(body)
    for headers in (
        {},
        signed(body, secret="another"),
        signed(body, at=now - 301),
        signed(body, at=now + 400),
        signed(body + b"&x=1"),
        {**good, "X-Slack-Request-Timestamp": str(int(now) - 1)},
        {**good, "X-Slack-Request-Timestamp": "soon"},
        {**good, "X-Slack-Request-Timestamp": "9" * 400},
        {**good, "X-Slack-Signature": ""},
        {**good, "X-Slack-Signature": "v0=" + "0" * 64},
    ):
        assert await desk.post(body, headers) == 401
    assert desk.status(approval) == "pending"


async def test_the_same_request_twice_is_refused_and_a_second_click_changes_nothing(desk: Desk) -> None:
    approval = await desk.ask("T-4")
    buttons = desk.slack.buttons()
    deny, approve = click(buttons["deny"]), click(buttons["approve"])
    headers = signed(deny)
    assert await desk.post(deny, headers) == 200
    assert await desk.post(deny, headers) == 401
    assert await desk.post(approve, signed(approve)) == 200
    assert desk.status(approval) == "denied"
    await desk.slack.until(lambda: desk.slack.told)
    assert "denied" in desk.slack.told[-1]["text"]


STRANGERS = {
    "no scope": ("U2", "T1", "may not decide"),
    "their own call": ("U3", "T1", "own call is decided at the app or the command line"),
    "another tenant": ("U4", "T1", "There is no approval"),
    "unknown member": ("U9", "T1", "not among the approvers"),
    "another workspace": ("U1", "T9", "not among the approvers"),
}


async def test_who_may_not_decide_is_told_so_alone(desk: Desk) -> None:
    approval = await desk.ask("T-5")
    for count, (user, team, said) in enumerate(STRANGERS.values()):
        body = click(desk.slack.buttons()["approve"], user, team)
        assert await desk.post(body, signed(body)) == 200
        await desk.slack.until(lambda count=count: len(desk.slack.told) > count)
        assert desk.slack.told[-1]["user"] == user
        assert said in desk.slack.told[-1]["text"]
        assert desk.status(approval) == "pending"


NO_CLICKS = [
    b"",
    b"payload=",
    b"payload=%7B%7D",
    b"payload=1&payload=2",
    urlencode({"payload": '{"type": "view_submission"}'}).encode(),
    click({"action_id": "other_app", "value": "apr_1"}),
    click({"action_id": "workbench_approve", "value": ["apr_1"]}),
    click({"action_id": "workbench_approve", "value": "x"}, type="message_action"),
]


async def test_what_is_signed_but_no_click_is_refused(desk: Desk) -> None:
    for body in NO_CLICKS:
        assert await desk.post(body, signed(body)) == 400
    assert await desk.post(b"\xff\xfe", signed(b"")) == 401
    assert await desk.post(b"x" * (200 << 10), signed(b"")) == 413


async def test_a_click_after_the_end_comes_too_late_and_the_card_says_that_nobody_decided(desk: Desk) -> None:
    approval = await desk.ask("T-6")
    body = click(desk.slack.buttons()["approve"])
    approvals = desk.platform.policy.approvals
    clock = approvals._clock
    approvals._clock = lambda: clock() + 16 * 60 * 1_000_000
    assert await desk.post(body, signed(body)) == 200
    await desk.platform.expire_approvals()
    assert desk.status(approval) == "expired"
    await desk.slack.until(lambda: "Nobody decided in time" in json.dumps(desk.slack.messages))
    assert not desk.slack.buttons()


async def test_arguments_are_shown_without_markup_and_personal_data_and_cut(desk: Desk) -> None:
    smuggled = "<!here> <https://evil.example|ok> *bold* ann@example.com " + "x" * 900
    approval = await desk.ask(smuggled)
    message = json.dumps(desk.slack.messages, ensure_ascii=False)
    assert "ann@example.com" not in message
    assert 'mrkdwn"' not in message.replace('"mrkdwn": false', "")
    assert desk.status(approval) == "pending"


async def test_a_slack_that_fails_holds_up_nobody_and_is_said(desk: Desk) -> None:
    desk.slack.fail = "channel_not_found"
    approval = await desk.ask("T-7")
    assert desk.platform.slack is not None
    await desk.platform.slack._tasks.finish()
    assert desk.platform.status()["slack"] == {"problem": "Slack did not accept chat.postMessage: channel_not_found."}
    assert desk.status(approval) == "pending"


def test_without_its_secrets_or_its_approvers_the_channel_is_refused(settings: Settings, tmp_path: Path) -> None:
    async def nobody(*given: Any) -> Any:
        raise AssertionError

    file = tmp_path / "approvers.toml"
    file.write_text(APPROVERS)
    both = {TOKEN: BOT, SECRET: SIGNING}
    for env, approvers in (({}, file), ({TOKEN: BOT}, file), (both, None), (both, tmp_path / "none.toml")):
        with pytest.raises(MisuseError) as refused:
            SlackChannel(
                settings.replace(slack_channel="C1", slack_approvers=approvers), lambda r: frozenset(), nobody, env=env
            )
        assert BOT not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        "[[approver]]\nteam = 'T1'",
        "[[approver]]\nteam = 'T1'\nuser = 'U1'\nsubject = 'a'\nroles = 'manager'",
        "[[approver]]\nteam = 'T1'\nuser = 'U1'\nsubject = 'a'\nroles = []\nrole = 'x'",
        APPROVERS + "[[approver]]\nteam = 'T1'\nuser = 'U1'\nsubject = 'b'\nroles = []",
        "approver = 1",
        "not toml",
    ],
)
def test_an_approvers_file_that_cannot_be_meant_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "approvers.toml"
    file.write_text(content)
    with pytest.raises(MisuseError, match=r"approvers\.toml"):
        read_approvers(file, "local")
