"""Keys over REST: within the maker's tenant and scopes, shown once, ended at once, on the record."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.conftest import Api
from workbench.client import Workbench
from workbench.platform.platform import Platform

KEYS = "/api/platform/keys"


def make(api: Api, token: str | None = "", **body: Any) -> Any:
    return api("POST", KEYS, json={"subject": "robot", "roles": ["employee"], **body}, token=token)


def events(wb: Workbench, subject: str) -> list[str]:
    found = wb.sql("select event from access_events where user_id = ? order by ts", [subject])
    return [str(event) for event in found["event"]]


def test_a_key_is_made_used_listed_and_ended_over_rest(api: Api, wb: Workbench) -> None:
    made = make(api, subject="nightly", note="nightly report", rate_per_minute=7)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    key, secret = made.json()["key"], made.json()["secret"]
    assert (key["subject"], key["roles"], key["rate_per_minute"]) == ("nightly", ["employee"], 7)
    assert api("GET", "/api/platform/tools", token=secret).status_code == 200
    listed = api("GET", KEYS)
    assert key["id"] in {each["id"] for each in listed.json()["keys"]}
    assert secret not in listed.text
    assert api("DELETE", f"{KEYS}/{key['id']}").json() == {"revoked": key["id"], "before": False}
    assert api("GET", "/api/platform/tools", token=secret).status_code == 401
    assert api("DELETE", f"{KEYS}/{key['id']}").json()["before"] is True
    assert events(wb, "nightly") == ["key created", "key revoked"]


def test_a_key_reaches_no_further_than_its_maker(api: Api, platform: Platform) -> None:
    _, admin = platform.access.create_key("ann", roles=("admin",))
    beyond = make(api, admin, roles=["owner"])
    assert beyond.status_code == 400
    assert "which you do not" in beyond.json()["error"]["message"]
    assert make(api, admin, roles=["owner"], scopes=["crm:read"]).status_code == 201
    assert make(api, admin).status_code == 201


def test_who_may_not_manage_keys_sees_and_makes_none(api: Api, platform: Platform) -> None:
    _, clerk = platform.access.create_key("bob", roles=("employee",))
    for answer in (make(api, clerk), api("GET", KEYS, token=clerk), api("DELETE", f"{KEYS}/x", token=clerk)):
        assert answer.status_code == 403
        assert "keys:manage" in answer.text


def test_keys_of_another_tenant_do_not_exist_and_its_makers_give_no_rates(api: Api, platform: Platform) -> None:
    here = make(api).json()["key"]["id"]
    _, other = platform.access.create_key("eve", roles=("admin",), tenant="globex")
    made = make(api, other).json()
    assert made["key"]["tenant"] == "globex"
    assert {key["tenant"] for key in api("GET", KEYS, token=other).json()["keys"]} == {"globex"}
    assert api("DELETE", f"{KEYS}/{here}", token=other).status_code == 404
    assert make(api, other, rate_per_minute=10**9).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"roles": ["emploee"]}, 400), ({"roles": []}, 400), ({"expires_us": 5}, 400), ({"subject": " "}, 400),
        ({"subject": ""}, 422), ({"rate_per_minute": 0}, 422), ({"tenant": "globex"}, 422),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_meant_is_refused(api: Api, body: dict[str, Any], status: int) -> None:
    before = api("GET", KEYS).json()
    assert make(api, **body).status_code == status
    assert api("GET", KEYS).json() == before


def test_a_key_that_cannot_be_recorded_is_not_left_behind(
    api: Api, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.events import NotRecordedError

    async def full(*_: Any) -> None:
        raise NotRecordedError("The disk is full.")

    monkeypatch.setattr(platform, "record_access", full)
    assert make(api, subject="lost").status_code == 503
    assert all(key["revoked_us"] for key in api("GET", KEYS).json()["keys"] if key["subject"] == "lost")
