"""`workbench rotate` lists and replaces keys as its page in the documentation says."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from workbench.access import Access
from workbench.access.api_keys import ApiKeys
from workbench.access.oauth.signing import LocalIssuer
from workbench.access.outbound.signing_keys import gateway_key
from workbench.audit import AuditLog, verify
from workbench.audit.format import records
from workbench.cli import cli
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.config import Settings
from workbench.events import MisuseError, now_us
from workbench.platform.key_rotation import KEYS
from workbench.policy.redaction.redactor import Redactor

PAGE = Path(__file__).parents[2] / "docs" / "key-rotation.md"
Command = Callable[..., Result]


@pytest.fixture
def run(settings: Settings) -> Command:
    def command(*arguments: str) -> Result:
        env = {"WORKBENCH_AUDIT_MIN_FREE_BYTES": "1"}
        done = CliRunner().invoke(cli, ["--home", str(settings.home), *arguments], env=env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return command


@pytest.fixture
def used(settings: Settings) -> Settings:
    """A state folder in which every key was used."""

    async def write() -> None:
        log = await AuditLog.open(settings.replace(audit_min_free_bytes=1, audit_encrypt=True))
        await log.write("local", records.access_event("key made", {}, tenant="local", subject="ann"))
        await log.close()

    asyncio.run(write())
    SealedTokens(settings.home / "session.key", b"x")
    Redactor(settings.home)
    gateway_key(settings)
    keys, access = ApiKeys(settings), Access(settings)
    LocalIssuer(settings, "http://127.0.0.1:8800", keys, now_us).close()
    access.local_key()
    keys.close()
    access.close()
    return settings


def test_every_key_is_listed_with_its_age_and_purpose(run, used):
    said = run("rotate").output
    for name, key in KEYS.items():
        assert re.search(rf"^{name}  (of \d{{4}}-\d\d-\d\d, 0 days old|none yet)", said, re.M)
        assert key.purpose in said
        assert key.effect in said
    found = {state["name"]: state for state in json.loads(run("rotate", "--json").output)}
    assert [name for name, state in found.items() if state["made_us"] is None] == ["app"]


def test_all_keys_are_replaced_and_the_listing_shows_it(run, used):
    run("rotate", "gateway", "--prepare")
    assert "gateway" in run("rotate").output.split("the next one is prepared")[0]
    files = {name: used.home / key.file for name, key in KEYS.items()}
    before = {name: path.read_bytes() for name, path in files.items() if path.exists()}
    done = run("rotate", "--all")
    assert done.exit_code == 0, done.output
    for name, content in before.items():
        assert files[name].read_bytes() != content, name
    assert set(before) == set(KEYS) - {"app"}
    assert "app  there is none yet" in done.output
    assert "1 earlier still count" in run("rotate").output
    assert verify(used.home, deep=True).ok


def test_all_leaves_out_a_key_that_would_have_to_be_prepared(run, used):
    before = (used.home / "gateway.key").read_bytes()
    names = [each["name"] for each in json.loads(run("rotate", "--all", "--json").output)]
    assert names == [name for name in KEYS if name != "gateway"]
    assert (used.home / "gateway.key").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--now"], "--now needs the name of a key"),
        (["--prepare"], "--prepare needs the name of a key"),
        (["session", "--all"], "exclude each other"),
        (["nothing"], "There is no key 'nothing'"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, arguments, said):
    with pytest.raises(MisuseError, match=said):
        run("rotate", *arguments)


def test_the_page_tells_of_every_key_and_its_commands_do_what_they_say(run, used):
    text = PAGE.read_text()
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.M)
    assert rows == [(key.name, key.file) for key in KEYS.values()]
    commands = re.findall(r"^ {4}workbench (rotate.*?|access identity)(?: +#.*)?$", text, re.M)
    assert len(commands) >= 8
    for command in commands:
        done = run(*shlex.split(command))
        assert done.exit_code == 0, (command, done.output)
    assert verify(used.home, deep=True).ok
