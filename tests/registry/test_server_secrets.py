"""Where a configuration may name secrets, and that a registration over the network may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.events import MisuseError
from workbench.registry import ServerSpec, read_configuration
from workbench.registry.registration import check_registration


def read(folder: Path, **entry: Any) -> ServerSpec:
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"desk": entry}}))
    found = read_configuration(folder / "mcp.json", env={"NAME": "bar"})
    if found.excluded:
        raise MisuseError(found.excluded[0].reason)
    return found.servers[0]


def test_references_stay_as_they_stand(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer ${secret:aws:prod/crm#token}", "X-Key": "secret:crm-key", "X-Foo": "${NAME}"}
    spec = read(tmp_path, url="https://crm.example/mcp", headers=headers)
    assert spec.headers == {**headers, "X-Foo": "bar"}
    env = {"DB": "postgres://u:${secret:db}@${NAME}/x"}
    assert read(tmp_path, command="crm", env=env).env == {"DB": "postgres://u:${secret:db}@bar/x"}


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"command": "crm", "args": ["--token=${secret:crm}"]}, "args"),
        ({"command": "${secret:crm}"}, "command"),
        ({"url": "https://crm.example/mcp?key=${secret:crm}"}, "url"),
        ({"url": "https://crm.example/mcp", "title": "Our ${secret:crm}"}, "title"),
        ({"url": "https://crm.example/mcp", "headers": {"X": "secret:../x"}}, "headers"),
        ({"url": "https://crm.example/mcp", "headers": {"X": "Bearer ${secret:}"}}, "headers"),
        ({"command": "crm", "env": {"X": "secret:vault:x"}}, "env"),
    ],
)
def test_a_secret_in_a_place_that_is_shown_is_refused(tmp_path: Path, entry: Any, key: str) -> None:
    with pytest.raises(MisuseError, match=f"line 1, key mcpServers.desk.{key}"):
        read(tmp_path, **entry)


@pytest.mark.parametrize("value", ["secret:aws:root", "Bearer ${secret:root}"])
def test_who_registers_a_server_cannot_have_our_secrets_sent_to_it(value: str) -> None:
    spec = ServerSpec(id="thief", kind="url", url="https://thief.example/mcp", headers={"X-Key": value})
    with pytest.raises(MisuseError, match="names a secret of this machine"):
        check_registration(spec, local_allowed=True)
