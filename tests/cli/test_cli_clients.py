"""`workbench access clients`: made, listed and ended at the command line, and good at the server at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from workbench.access import Access
from workbench.cli import cli
from workbench.events import MisuseError

Command = Callable[..., str]


@pytest.fixture
def run(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(settings.home.parent)

    def command(*arguments: str) -> str:
        line = ["--home", str(settings.home), "access", "clients", *arguments]
        result = CliRunner().invoke(cli, line, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return command


def test_a_client_is_made_shown_without_its_secret_and_ended(run: Command, settings: Any) -> None:
    made = json.loads(run("create", "Robot", "--role", "employee", "--scope", "crm:*", "--json"))
    id, secret = made["client"]["id"], made["secret"]
    listed = run("list")
    assert id in listed
    assert "active" in listed
    assert secret not in listed + run("list", "--json")
    access = Access(settings.replace(port="8800", oauth_server=True))
    assert access.issuer is not None
    assert access.issuer.clients.has_secret(id, secret)
    run("end", id)
    assert access.issuer.clients.find(id) is None
    assert "ended" in run("list")
    access.close()
    with pytest.raises(MisuseError, match="not ended before"):
        run("end", id)


def test_a_public_client_has_no_secret(run: Command) -> None:
    out = run("create", "Desk app", "--public", "--redirect", "http://127.0.0.1/callback")
    assert "client_secret" not in out
    assert "for people" in run("list")


@pytest.mark.parametrize(
    "wrong",
    [("X",), ("X", "--role", "employe"), ("X", "--scope", "a::b"), ("X", "--redirect", "http://evil.example/"),
     ("X", "--scope", "*"), ("X", "--workload", "agent", "--role", "employee"),
     ("X", "--public", "--role", "employee")],
)  # fmt: skip
def test_a_client_that_cannot_be_meant_is_not_made(run: Command, wrong: tuple[str, ...]) -> None:
    with pytest.raises(MisuseError):
        run("create", *wrong)
    assert json.loads(run("list", "--json"))["clients"] == []
