"""What leaves and what is kept: columns, texts, keys, tables, credentials, sizes."""

from __future__ import annotations

import copy
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.json_values import MAX_DEPTH
from workbench.policy import Redactor
from workbench.policy.redaction import recognizers
from workbench.policy.redaction import redactor as redaction
from workbench.policy.redaction.field_names import columns

NAMES = ("email", "phone", "ssn")
PEOPLE = [
    {"id": 1, "name": "Ann", "email": "ann@acme.example", "phone": "+1 415 867 5309", "active": True},
    {"id": 2, "name": "Bob", "email": "bob@acme.example", "phone": "(415) 867-5310", "active": False},
]


@pytest.fixture
def redactor(settings: Settings, presidio: None) -> Redactor:
    return Redactor(settings.home)


@pytest.fixture
def unloaded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """A redactor whose recognisers never come."""
    silent = recognizers.Recognisers()
    monkeypatch.setattr(silent, "warm", lambda: None)
    monkeypatch.setattr(recognizers, "shared", lambda: silent)
    return Redactor(settings.home)


# --- results -------------------------------------------------------------------------------------


def test_named_columns_become_typed_tokens_and_nothing_else_changes(redactor: Redactor) -> None:
    before = copy.deepcopy(PEOPLE)
    seen, count = redactor.result(PEOPLE, NAMES, "acme")
    assert before == PEOPLE
    assert count == 4
    for row, original in zip(seen, PEOPLE, strict=True):
        assert row["email"].startswith("<EMAIL:")
        assert len(row["email"]) == len("<EMAIL:12345678>")
        assert row["phone"].startswith("<PHONE:")
        assert {k: row[k] for k in ("id", "name", "active")} == {k: original[k] for k in ("id", "name", "active")}


def test_whoever_may_see_personal_data_gets_the_very_object(redactor: Redactor) -> None:
    seen, count = redactor.result(PEOPLE, (), "acme")
    assert seen is PEOPLE
    assert count == 0


def test_a_clean_result_is_passed_on_as_it_is(redactor: Redactor) -> None:
    clean = {"rows": [{"sku": "A-1", "price": 9.5, "created": "2026-05-01T10:15:00Z", "tags": ["new"], "n": None}]}
    seen, count = redactor.result(clean, NAMES, "acme")
    assert seen is clean
    assert count == 0


@pytest.mark.parametrize(
    ("key", "withheld"),
    [
        ("email", True),
        ("Email", True),
        ("EMAIL", True),
        ("e-mail", True),
        ("E_Mail", True),
        ("emails", True),
        ("emailAddress", True),
        ("email_address", True),
        ("customerEmail", True),
        ("customer_email_1", True),
        ("billing.email", True),
        ("mail", True),
        ("phone", True),
        ("phoneNumber", True),
        ("telephone", True),
        ("mobile", True),
        ("work_phone_no", True),
        ("SSN", True),
        ("social_security_number", True),
        ("socialSecurity", True),
        ("name", False),
        ("email_opt_in", False),
        ("email_status", False),
        ("phone_type", False),
        ("mailing_list", False),
        ("microphone", False),
        ("session", False),
        ("lessn", False),
        ("telescope", False),
    ],
)
def test_columns_are_recognised_however_they_are_spelt(redactor: Redactor, key: str, withheld: bool) -> None:
    seen, count = redactor.result({key: "plain words"}, NAMES, "acme")
    assert (count == 1) is withheld
    assert (seen[key] == "plain words") is not withheld


def test_a_column_that_only_the_server_names_has_its_own_type(redactor: Redactor) -> None:
    seen, _ = redactor.result(
        {"passport_no": "X12", "Passport-No": "X12", "diagnosis": "cold"}, ("passport_no",), "acme"
    )
    assert seen["passport_no"].startswith("<PASSPORT_NO:")
    assert seen["Passport-No"] == seen["passport_no"]
    assert seen["diagnosis"] == "cold"


def test_values_below_a_named_column_are_withheld_whatever_their_shape(redactor: Redactor) -> None:
    value = {
        "email": {"value": "ann@acme.example", "verified": True, "seen": None},
        "phones": ["415-867-5309", {"home": 4158675309}, ""],
        "ssn": 123456789,
        "phone": 4158675309,
        "fax": 4158675309.0,
        "mobile": 3,
    }
    seen, count = redactor.result(value, NAMES, "acme")
    assert seen["email"]["verified"] is True
    assert seen["email"]["seen"] is None
    assert seen["phones"][2] == ""
    assert seen["mobile"] == 3
    assert count == 6
    assert not any(digits in json.dumps(seen) for digits in ("4158675309", "123456789", "867-5309", "ann@"))


def test_a_result_that_is_json_in_a_text_is_searched_by_its_columns(redactor: Redactor) -> None:
    inner = {"rows": [{"ssn": "000000000", "note": "x"}]}
    for text in (json.dumps(inner), json.dumps(inner, indent=2), "\n " + json.dumps(inner)):
        seen, count = redactor.result({"content": [{"type": "text", "text": text}]}, NAMES, "acme")
        assert count == 1
        parsed = json.loads(seen["content"][0]["text"])
        assert parsed["rows"][0]["ssn"].startswith("<SSN:")
        assert parsed["rows"][0]["note"] == "x"
    broken = '{"ssn": "123-45-6789'
    seen, count = redactor.result(broken + "}", NAMES, "acme")
    assert (count, "123-45-6789" in seen) == (1, False)


def test_json_within_json_within_json_is_searched_too(redactor: Redactor) -> None:
    text = json.dumps({"ssn": "000000000"})
    for _ in range(3):
        text = json.dumps({"payload": text})
    seen, count = redactor.result({"content": [{"text": text}]}, NAMES, "acme")
    assert count == 1
    assert "000000000" not in json.dumps(seen)


@pytest.mark.parametrize("rows", ["rows", "data", "values", "records"])
def test_a_table_with_its_columns_beside_it_is_withheld_by_position(redactor: Redactor, rows: str) -> None:
    table = {
        "columns": ["id", "e_mail", {"name": "ssn", "type": "text"}, 5],
        rows: [[1, "secret words", "000", 1], "odd"],
    }
    seen, count = redactor.result(table, NAMES, "acme")
    assert count == 2
    assert seen[rows][0][0] == 1
    assert seen[rows][0][1].startswith("<EMAIL:")
    assert seen[rows][0][2].startswith("<SSN:")
    assert seen[rows][1] == "odd"
    assert seen["columns"] == table["columns"]


def test_personal_data_in_a_key_is_replaced_and_no_entry_is_lost(redactor: Redactor) -> None:
    value = {"ann@acme.example": 1, "ANN@acme.example": 2, "plain": 3}
    seen, count = redactor.result(value, NAMES, "acme")
    assert count == 2
    assert sorted(seen.values()) == [1, 2, 3]
    assert not any("acme.example" in key for key in seen)


def test_free_text_keeps_its_words_around_the_tokens(redactor: Redactor) -> None:
    text = "Mail ann@acme.example or call +44 20 7946 0958 today."
    seen, count = redactor.result({"note": text}, NAMES, "acme")
    assert count == 2
    assert seen["note"].startswith("Mail <EMAIL:")
    assert "> or call <PHONE:" in seen["note"]
    assert seen["note"].endswith("> today.")


# --- tokens --------------------------------------------------------------------------------------


def test_the_same_person_has_the_same_token_everywhere_in_a_tenant(redactor: Redactor) -> None:
    column, _ = redactor.result({"email": "Ann@Acme.example "}, NAMES, "acme")
    text, _ = redactor.result({"note": "wrote to ann@acme.example"}, NAMES, "acme")
    record = redactor.record({"q": "ann@acme.example"}, "acme")
    assert text["note"] == f"wrote to {column['email']}"
    assert record["q"] == column["email"]
    assert redactor.token("PHONE", "(415) 867-5309", "acme") == redactor.token("PHONE", "415.867.5309", "acme")
    assert redactor.token("IBAN", "DE89 3704", "acme") == redactor.token("IBAN", "de893704", "acme")


def test_tokens_of_tenants_types_and_installations_do_not_join(redactor: Redactor, settings: Settings) -> None:
    other = Redactor(settings.home.parent / "other")
    tokens = {
        redactor.token("EMAIL", "a@b.example", "acme"),
        redactor.token("EMAIL", "a@b.example", "globex"),
        redactor.token("NAME", "a@b.example", "acme").replace("NAME", "EMAIL"),
        other.token("EMAIL", "a@b.example", "acme"),
    }
    assert len(tokens) == 4
    assert Redactor(settings.home).token("EMAIL", "a@b.example", "acme") in tokens


def test_the_key_is_private_and_a_damaged_one_is_refused(settings: Settings) -> None:
    Redactor(settings.home)
    path = settings.home / "redaction.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in settings.home.iterdir() if "redaction" in p.name] == ["redaction.key"]
    path.write_bytes(b"short")
    with pytest.raises(MisuseError, match="32 bytes"):
        Redactor(settings.home)


def test_a_key_made_by_another_process_in_the_same_moment_counts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings.home / "redaction.key"
    link = redaction.os.link

    def other_was_first(source: Path, target: Path) -> None:
        target.write_bytes(b"k" * 32)
        link(source, target)

    monkeypatch.setattr(redaction.os, "link", other_was_first)
    assert Redactor(settings.home)._key == b"k" * 32
    assert [p.name for p in settings.home.iterdir() if "redaction" in p.name] == [path.name]


def test_tokens_are_not_redacted_again(redactor: Redactor) -> None:
    once = redactor.record({"a": "ann@acme.example, 415-867-5309, 4111 1111 1111 1111, 10.1.2.3"}, "acme")
    assert redactor.record(once, "acme") == once


# --- the record ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "hidden"),
    [
        ("password", "hunter2", True),
        ("Password", 12345678, True),
        ("db_passwd", "x", True),
        ("api_key", "abc", True),
        ("apiKey", "abc", True),
        ("X-API-Key", "abc", True),
        ("client_secret", "abc", True),
        ("Authorization", "Basic eDp5", True),
        ("access_token", "abc", True),
        ("refreshTokens", ["abc", "def"], True),
        ("cookie", "a=b", True),
        ("Set-Cookie", "a=b", True),
        ("private_key", "abc", True),
        ("credentials", {"user": "x", "pin": 1}, True),
        ("otp", 123456, True),
        ("session_id", "abc", True),
        ("connection_string", "abc", True),
        ("input_tokens", 1234, False),
        ("token_count", "12", False),
        ("tokens", 5, False),
        ("token_budget", 5, False),
        ("password", None, False),
        ("password", "", False),
        ("password", True, False),
        ("secretary", "Ann", False),
        ("key", "abc", False),
        ("author", "Ann", False),
        ("keyboard", "qwerty", False),
    ],
)
def test_credentials_are_hidden_by_the_name_of_their_key(
    redactor: Redactor, key: str, value: Any, hidden: bool
) -> None:
    seen = redactor.record({key: value}, "acme")
    if hidden:
        assert set(str(seen[key]).replace("'", "").strip("[]").split(", ")) == {"<SECRET>"}
    else:
        assert seen[key] == value


SECRETS = {
    "workbench key": "mk_abcdefghijkl_" + "A" * 43,
    "OpenAI": "sk-proj-abcdefghijklmnop1234",
    "Anthropic": "sk-ant-api03-abcdefghijklmnop1234",
    "Google": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "GitHub": "ghp_" + "a1B2" * 9,
    "GitHub fine-grained": "github_pat_" + "a1B2" * 9,
    "GitLab": "glpat-" + "abcdefghij0123456789",
    "Slack": "xoxb-" + "123456789012-abcdef",
    "AWS": "AKIA" + "ABCDEFGHIJKLMNOP",
    "Stripe": "sk_live_" + "abcdefghij0123",
    "npm": "npm_" + "a1B2c3" * 6,
    "Hugging Face": "hf_" + "abcdefghij" * 3,
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----",
    "private key cut short": "-----BEGIN PRIVATE KEY-----\nMIIEow",
}


@pytest.mark.parametrize("kind", list(SECRETS))
def test_credentials_are_removed_from_texts_by_their_shape(redactor: Redactor, kind: str) -> None:
    secret = SECRETS[kind]
    for text in (secret, f"use {secret} please", f"({secret})", json.dumps({"a": secret})):
        seen = str(redactor.record({"note": text}, "acme"))
        assert secret not in seen
        assert secret[12:] not in seen
        assert "<SECRET>" in seen


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer <SECRET>"),
        ("postgres://bob:hunter2@db.example/shop", "postgres://<SECRET>@db.example/shop"),
        ("the password is hunter2, ok?", "the password is <SECRET>, ok?"),
        ("password=hunter2&user=bob", "password=<SECRET>&user=bob"),
        ('api_key: "abc def"', "api_key: <SECRET>"),
        ("PASSWORD: 'x y z'", "PASSWORD: <SECRET>"),
        ("secret = s3cr3t", "secret = <SECRET>"),
        ("token:abc", "token:<SECRET>"),
    ],
)
def test_what_a_text_calls_a_password_is_removed(redactor: Redactor, text: str, kept: str) -> None:
    assert redactor.record({"note": text}, "acme") == {"note": kept}


@pytest.mark.parametrize(
    "text",
    [
        "Please reset my password",
        "the token bucket algorithm",
        "Basic plan upgraded",
        "bearer bonds explained",
        "see https://example.org/docs for secrets management",
        "risk-adjusted return in Asia",
        "task-force",
    ],
)
def test_talking_about_passwords_is_not_a_password(redactor: Redactor, text: str) -> None:
    assert redactor.record({"note": text}, "acme") == {"note": text}


def test_results_keep_what_only_the_record_must_not(redactor: Redactor) -> None:
    seen, _ = redactor.result({"email_status": "bounced", "license_token": "abc"}, NAMES, "acme")
    assert seen == {"email_status": "bounced", "license_token": "abc"}


def test_a_card_number_stored_as_a_number_is_not_recorded_and_an_id_is(redactor: Redactor) -> None:
    value = {
        "card": 4111111111111111,
        "at_us": 1795150394128488,
        "id": 4111111111111112,
        "n": 5,
        "list": [4111111111111111],
    }
    seen = redactor.record(value, "acme")
    assert seen["card"].startswith("<CARD:")
    assert seen["list"] == [seen["card"]]
    assert {k: seen[k] for k in ("at_us", "id", "n")} == {k: value[k] for k in ("at_us", "id", "n")}


PERSONAL = ["ann.smith@acme.example", "+44 20 7946 0958", "(415) 867-5309", "123-45-6789", "4111 1111 1111 1111"]
KEYS = st.one_of(
    st.sampled_from(["a", "b", "note", "rows", "columns", "data", "email", "token"]), st.sampled_from(PERSONAL)
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(0, 99),
        st.text(st.characters(codec="ascii", categories=("L", "Zs")), max_size=8),
        st.sampled_from(PERSONAL),
        st.sampled_from(PERSONAL).map(lambda p: f"about {p}, I think"),
        st.sampled_from(PERSONAL).map(lambda p: json.dumps({"inner": [p]})),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)
_shared: dict[str, Redactor] = {}


@given(VALUES)
@hypothesis_settings(max_examples=120, deadline=None)
def test_wherever_personal_data_stands_the_record_does_not_hold_it(
    tmp_path_factory: pytest.TempPathFactory, presidio: None, value: Any
) -> None:
    redactor = _shared.setdefault("one", Redactor(tmp_path_factory.mktemp("h") / "home"))
    before = copy.deepcopy(value)
    kept = json.dumps(redactor.record(value, "acme"))
    assert not [p for p in PERSONAL if p in kept]
    assert value == before
    strict, _ = redactor.result(value, NAMES, "acme")
    assert not [p for p in PERSONAL if p in json.dumps(strict)]


# --- before the recognisers are there ------------------------------------------------------------


def test_suspicious_texts_are_withheld_whole_until_they_can_be_looked_at(unloaded: Redactor) -> None:
    value = {"a": "call +44 20 7946 0958", "b": "plain words", "email": "ann@acme.example", "d": "2026-05-01T10:15:00Z"}
    assert not unloaded.ready
    kept = unloaded.record(value, "acme")
    assert kept["a"] == "<REDACTED>"
    assert kept["b"] == "plain words"
    assert kept["d"] == "2026-05-01T10:15:00Z"
    assert kept["email"].startswith("<EMAIL:")
    seen, count = unloaded.result(value, NAMES, "acme")
    assert (seen["a"], count) == ("<REDACTED>", 2)


def test_recognisers_that_cannot_be_loaded_say_so_and_let_nothing_pass(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*, lenient: bool) -> Any:
        raise ImportError("No module named 'presidio_analyzer'")

    own = recognizers.Recognisers()
    monkeypatch.setattr(recognizers, "_engines", missing)
    monkeypatch.setattr(recognizers, "shared", lambda: own)
    redactor = Redactor(settings.home)
    redactor.warm()
    own.warm().join()
    assert not redactor.ready
    assert "presidio_analyzer" in redactor.problem
    assert redactor.record(["ann@acme.example"], "acme") == ["<REDACTED>"]


@pytest.mark.slow
def test_starting_a_policy_does_not_wait_for_the_recognisers(settings: Settings) -> None:
    program = (
        "import sys; from pathlib import Path; from workbench.config import Settings;"
        "from workbench.policy import Policy;"
        "home = Path(sys.argv[1]);"
        "before = 'presidio_analyzer' in sys.modules;"
        "policy = Policy(Settings.load(env={}, cwd=home.parent, home=home));"
        "ready = policy.redactor.ready; policy.redactor._recognisers.warm().join();"
        "print(before, ready, policy.redactor.ready)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(settings.home)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False", "True"]


# --- sizes ---------------------------------------------------------------------------------------


def test_what_is_nested_too_deep_is_withheld(redactor: Redactor) -> None:
    value: Any = "ann@acme.example"
    for _ in range(MAX_DEPTH * 3):
        value = {"a": [value]}
    kept = json.dumps(redactor.record(value, "acme"))
    assert "<REDACTED>" in kept
    assert "ann@" not in kept
    text = "x"
    for _ in range(12):
        text = json.dumps([text])
    redactor.record(text, "acme")


def test_what_has_too_many_values_is_withheld(redactor: Redactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.policy.redaction.walker.MAX_NODES", 100)
    value = {"a": list(range(50)), "b": ["ann@acme.example"] * 60, "email": ["x"] * 60, "c": "kept"}
    kept = redactor.record(value, "acme")
    assert kept["a"] == list(range(50))
    assert kept["b"] == kept["email"] == "<REDACTED>"
    assert kept["c"] == "kept"


def test_only_so_much_suspicious_text_is_read_in_one_pass_and_the_rest_is_withheld(
    redactor: Redactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.policy.redaction.walker.MAX_SUSPICIOUS", 100)
    value = ["mail ann@acme.example " + "x" * 50, "plain " * 100, "mail bob@acme.example " + "x" * 50, "plain " * 100]
    for seen in (redactor.record(value, "acme"), redactor.result(value, NAMES, "acme")[0]):
        assert seen[0].startswith("mail <EMAIL:")
        assert (seen[1], seen[3]) == (value[1], value[3])
        assert seen[2] == "<REDACTED>"


@pytest.mark.parametrize("at", [0, 65_530, 65_536 - 10, 65_536, 131_070, 199_950])
def test_a_long_text_is_searched_to_its_end_and_across_its_windows(redactor: Redactor, at: int) -> None:
    filler = "lorem ipsum dolor " * 11_112
    text = filler[:at] + " ann@acme.example " + filler[at:]
    seen, count = redactor.text(text, "acme", lenient=False)
    assert count == 1
    assert "ann@" not in seen
    assert len(seen) == len(text) - len("ann@acme.example") + len("<EMAIL:12345678>")


def test_unusual_values_become_texts_in_the_record(redactor: Redactor) -> None:
    seen = redactor.record(
        {"at": datetime.date(2026, 5, 1), "raw": b"ann@acme.example", 5: ("x", "ann@acme.example")}, "acme"
    )
    assert seen["at"] == "2026-05-01"
    assert "ann@" not in str(seen)
    assert orjson.dumps(seen, option=orjson.OPT_NON_STR_KEYS)


def test_texts_with_unpaired_surrogates_are_handled(redactor: Redactor) -> None:
    seen = redactor.record({"a": "\ud83d ann@acme.example", "email": "\ud83d"}, "acme")
    assert "ann@" not in seen["a"]
    assert seen["email"].startswith("<EMAIL:")


def test_memory_of_what_was_seen_is_bounded_and_holds_no_personal_data(
    settings: Settings, presidio: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_MAX_CACHED", 10)
    redactor = Redactor(settings.home)
    for i in range(50):
        redactor.record({"note": f"ann{i}@acme.example"}, "acme")
        assert len(redactor._leaves) <= 10
    assert "ann" not in repr(list(redactor._leaves)) + repr(list(redactor._leaves.values()))
    matcher = columns(("email",), False)
    for i in range(50):
        redactor.result({f"ann{i}@acme.example": 1}, ("email",), "acme")
    assert not [key for key in matcher.known if "ann" in str(key)]


@pytest.mark.parametrize(
    "text",
    [
        "connect ECONNREFUSED 127.0.0.1:27017",
        "connect ECONNREFUSED ::1:5432",
        "http://[::1]:8080/ refused the connection",
        "cannot bind 0.0.0.0:8080",
        "listening on ::ffff:127.0.0.1 and 127.0.53.53/8",
    ],
)
def test_addresses_of_the_machine_itself_stay_readable_everywhere(redactor: Redactor, text: str) -> None:
    assert redactor.message(text, ("email",), "local") == (text, 0)
    assert redactor.result({"error": text}, ("email",), "local") == ({"error": text}, 0)
    assert redactor.prose(text, "local", "result") == (text, 0)
    assert redactor.record(text, "local") == text
    assert redactor.event(text, "local") == text


@pytest.mark.parametrize("address", ["10.1.2.3", "203.0.113.9", "::203.0.113.9", "2001:db8::1", "::ffff:203.0.113.9"])
def test_addresses_of_other_machines_are_withheld(redactor: Redactor, address: str) -> None:
    shown, count = redactor.message(f"refused by {address} and 127.0.0.1", ("email",), "local")
    assert count == 1
    assert address not in shown
    assert shown.endswith("and 127.0.0.1")
