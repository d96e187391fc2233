"""Approvals in Slack: a card for each request, and the click of an approver as the decision.

A click counts when Slack signed it within five minutes, when it was not seen before, and when the person stands in the
approvers' file with a role that may decide. Everything else of an approval holds as at every other door.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import tomllib
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from workbench.background_tasks import BackgroundTasks
from workbench.bounded_dict import BoundedDict
from workbench.config import Settings
from workbench.control import open_store
from workbench.events import JSON, Caller, MisuseError, Record
from workbench.policy.approvals.approval import Approval, ApprovalRefusedError
from workbench.policy.approvals.slack_card import APPROVE, DENY, card, fallback
from workbench.secrets import SecretResolver

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

VIA = "slack"
"""The door of such a decision."""
TOKEN = "WORKBENCH_SLACK_BOT_TOKEN"
SECRET = "WORKBENCH_SLACK_SIGNING_SECRET"
WINDOW_S = 300
MAX_BYTES = 128 << 10
_SEEN = 10_000
_TABLE = """create table if not exists approval_cards (
  approval text primary key, channel text not null, ts text not null) strict;"""

Decide = Callable[[str, bool, Caller], Awaitable[Approval]]
"""Decides an approval and puts it on the record; raises `ApprovalRefusedError`."""

_log = logging.getLogger(__name__)


class SlackSignatureError(MisuseError):
    """A request that Slack did not sign, or signed too long ago, or that came twice."""

    error_kind = "NotFromSlack"


class SlackApprover(Record, frozen=True, kw_only=True):
    """Who a member of a Slack workspace is here."""

    team: str
    user: str
    subject: str
    roles: tuple[str, ...]
    tenant: str


def read_approvers(path: Path, tenant: str) -> dict[tuple[str, str], SlackApprover]:
    """The approvers' file: tables `[[approver]]` with `team`, `user`, `subject`, `roles` and, where needed, `tenant`.

    Raises:
        MisuseError: it cannot be read, or an entry is not of that form, or a member stands in it twice.
    """
    expected = 'Expected [[approver]] with team = "T…", user = "U…", subject = "…", roles = ["…"].'
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("approver", [])
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise MisuseError(f"The approvers' file {path} cannot be read: {e}.", hint=expected) from e
    found: dict[tuple[str, str], SlackApprover] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        texts = ("team", "user", "subject")
        if not isinstance(entry, dict) or not all(isinstance(entry.get(t), str) and entry[t] for t in texts):
            raise MisuseError(f"An entry of {path} lacks team, user or subject.", hint=expected)
        roles, own = entry.get("roles"), entry.get("tenant", tenant)
        if not isinstance(roles, list) or not all(isinstance(r, str) for r in roles) or not isinstance(own, str):
            raise MisuseError(f"The roles of {entry['subject']} in {path} are no list of names.", hint=expected)
        key = (entry["team"], entry["user"])
        if key in found or set(entry) - {*texts, "roles", "tenant"}:
            raise MisuseError(f"{entry['subject']} in {path} stands twice or has unknown fields.", hint=expected)
        found[key] = SlackApprover(team=key[0], user=key[1], subject=entry["subject"], roles=tuple(roles), tenant=own)
    return found


class SlackChannel:
    """One channel of one Slack workspace where approvals are asked for.

    Args:
        settings: `slack_channel`, `slack_approvers` and `slack_api_url`.
        scopes: what roles grant.
        decide: makes a decision.
        env: where token and signing secret are, or references to them; None means the process's environment.
        clock: seconds since the epoch.

    Raises:
        MisuseError: slack_sdk is not installed, a secret is missing, or the approvers' file cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        scopes: Callable[[Collection[str]], frozenset[str]],
        decide: Decide,
        *,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            from slack_sdk.signature import SignatureVerifier
            from slack_sdk.web.async_client import AsyncWebClient
        except ImportError as e:
            raise MisuseError("Setting slack_channel needs the package slack_sdk.", hint="pip install slack_sdk") from e
        env = SecretResolver.of(settings).environment() if env is None else env
        missing = [name for name in (TOKEN, SECRET) if not env.get(name)]
        if missing or settings.slack_approvers is None:
            wanted = [*missing, *(["setting slack_approvers"] if settings.slack_approvers is None else [])]
            raise MisuseError(f"Setting slack_channel needs {' and '.join(wanted)}.", hint="See docs/policy.md, Slack.")
        self.problem = ""
        """Why the last card could not be posted; empty when it could."""
        self._channel = settings.slack_channel
        self._path: Path = settings.slack_approvers
        self._tenant = settings.tenant
        self._scopes, self._decide, self._clock = scopes, decide, clock
        self._client: AsyncWebClient = AsyncWebClient(env[TOKEN], base_url=settings.slack_api_url, timeout=10)
        self._verifier = SignatureVerifier(env[SECRET])
        self._seen: BoundedDict[str, float] = BoundedDict(_SEEN)
        self._lock = threading.Lock()
        self._store = open_store(settings)
        self._store.prepare("cards", _TABLE)
        self._tasks = BackgroundTasks("Slack")
        self._settling = asyncio.Lock()
        read_approvers(self._path, self._tenant)

    # --- cards

    def announce(self, approval: Approval) -> None:
        """Post the card of a new request, in the background: nobody's call waits for Slack."""
        self._tasks.start(self._post(approval))

    def settle(self, approval: Approval) -> None:
        """Take the buttons off the card of an approval that was decided or has ended."""
        self._tasks.start(self._update(approval))

    async def close(self) -> None:
        """Finish what is under way, for at most ten seconds."""
        await self._tasks.finish(timeout=10)
        self._store.close()

    async def _post(self, approval: Approval) -> None:
        if approval.tenant not in {known.tenant for known in read_approvers(self._path, self._tenant).values()}:
            return  # nobody here decides for that tenant, so nobody here hears of it
        async with self._settling:
            answer = await self._ask(
                "chat.postMessage", channel=self._channel, text=fallback(approval), blocks=card(approval)
            )
            if answer is not None:
                row = (approval.id, str(answer.get("channel") or self._channel), str(answer["ts"]))
                statement = (
                    "insert into approval_cards values (?, ?, ?) on conflict (approval) "
                    "do update set channel = excluded.channel, ts = excluded.ts"
                )
                await self._store.aside(self._store.change, statement, *row)

    async def _update(self, approval: Approval) -> None:
        async with self._settling:  # a card that is being posted is there before it is changed
            query = "select channel, ts from approval_cards where approval = ?"
            found = await self._store.aside(self._store.row, query, approval.id)
            if found is not None:
                text, blocks = fallback(approval), card(approval)
                await self._ask("chat.update", channel=found[0], ts=found[1], text=text, blocks=blocks)

    async def _ask(self, method: str, **arguments: Any) -> JSON | None:
        """One call of Slack's API; None when it failed, which is said and never raised."""
        import aiohttp
        from slack_sdk.errors import SlackClientError

        try:
            answer = await self._client.api_call(method, json={"unfurl_links": False, **arguments})
        except (SlackClientError, aiohttp.ClientError, OSError, TimeoutError) as e:
            said = getattr(getattr(e, "response", None), "data", None)
            why = said.get("error") if isinstance(said, dict) else type(e).__name__
            self.problem = f"Slack did not accept {method}: {why}."
            _log.warning("%s", self.problem)
            return None
        self.problem = ""
        data = answer.data
        return data if isinstance(data, dict) else {}

    # --- clicks

    async def interact(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Handle one request to the interactivity URL. Returns quickly; Slack waits for three seconds.

        Raises:
            SlackSignatureError: not signed, too old, or seen before.
            MisuseError: signed, but no click on one of our buttons.
        """
        self._check(body, headers)
        team, user, channel, approve, approval = _click(body)
        approver = read_approvers(self._path, self._tenant).get((team, user))
        if approver is None:
            self._tell(channel, user, "You are not among the approvers of this workbench.")
            return
        caller = Caller(
            tenant=approver.tenant,
            subject=approver.subject,
            roles=approver.roles,
            scopes=self._scopes(approver.roles),
            credential=f"slack:{team}:{user}",
            method="key",
        )
        try:
            await self._decide(approval, approve, caller)
        except ApprovalRefusedError as e:
            self._tell(channel, user, str(e))

    def _check(self, body: bytes, headers: Mapping[str, str]) -> None:
        named = {name.lower(): value for name, value in headers.items()}
        stamp, signature = named.get("x-slack-request-timestamp", ""), named.get("x-slack-signature", "")
        if len(body) > MAX_BYTES:
            raise SlackSignatureError("The request is too large for a click.")
        fresh = stamp.isascii() and stamp.isdigit() and abs(self._clock() - int(stamp[:15])) <= WINDOW_S
        if not fresh:
            raise SlackSignatureError("The request has no timestamp of the last five minutes.")
        try:
            known = self._verifier.generate_signature(timestamp=stamp, body=body)
        except UnicodeDecodeError:
            known = None
        # bytes, because texts beyond ASCII cannot be compared in constant time
        if known is None or not _same(known.encode(), signature.encode("utf-8", "replace")):
            raise SlackSignatureError("The signature of the request is not Slack's.")
        now = self._clock()
        with self._lock:
            if signature in self._seen:
                raise SlackSignatureError("This very request was seen before.")
            self._seen[signature] = now
            while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW_S:
                self._seen.popitem(last=False)

    def _tell(self, channel: str, user: str, text: str) -> None:
        async def tell() -> None:
            await self._ask("chat.postEphemeral", channel=channel or self._channel, user=user, text=text, mrkdwn=False)

        self._tasks.start(tell())


def _same(known: bytes, given: bytes) -> bool:
    import hmac

    return hmac.compare_digest(known, given)


def _click(body: bytes) -> tuple[str, str, str, bool, str]:
    """Workspace, member, channel, yes or no, and approval of a click (Slack: block_actions payload)."""
    try:
        (payload,) = parse_qs(body.decode(), strict_parsing=True, max_num_fields=8)["payload"]
        click = orjson.loads(payload)
        (action,) = click["actions"]
        kind, name, value = click["type"], action["action_id"], action["value"]
        team, user = click["team"]["id"], click["user"]["id"]
        channel = (click.get("channel") or {}).get("id") or ""
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise MisuseError("The request is no click on a card.") from e
    if kind != "block_actions" or name not in (APPROVE, DENY):
        raise MisuseError(f"The action {str(name)[:50]!r} is none of ours.")
    if not all(isinstance(text, str) and text for text in (team, user, value)) or not isinstance(channel, str):
        raise MisuseError("The request is no click on a card.")
    return team, user, channel, name == APPROVE, value
