"""How secrets are named, and that what is no name is refused without being repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import MisuseError
from workbench.secrets import SecretReference, is_reference, references


def test_a_reference_says_name_source_and_field() -> None:
    assert SecretReference.parse("secret:crm-token") == SecretReference(name="crm-token")
    assert SecretReference.parse("secret:CRM_TOKEN") == SecretReference(name="CRM_TOKEN")
    assert SecretReference.parse("secret:file:crm/token") == SecretReference(name="crm/token", source="file")
    assert SecretReference.parse("secret:aws:prod/crm#password") == SecretReference(
        name="prod/crm", source="aws", field="password"
    )
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:crm-AbCdEf"
    assert SecretReference.parse(f"secret:aws:{arn}").name == arn


def test_references_stand_alone_or_within_a_text() -> None:
    assert references("redis://:${secret:redis}@cache:6379/0") == [SecretReference(name="redis")]
    assert references("${secret:env:USER_NAME}:${secret:file:word}") == [
        SecretReference(name="USER_NAME", source="env"),
        SecretReference(name="word", source="file"),
    ]
    assert references("secret:one") == [SecretReference(name="one")]
    assert [t for t in ("plain", "a secret: thing", "${HOME}", "") if is_reference(t)] == []


@pytest.mark.parametrize(
    "text",
    [
        "secret:", "secret:../etc/passwd", "secret:a/../b", "secret:/etc/passwd", "secret:a//b", "secret:a b",
        "secret:file:", "secret:vault:x", "secret:a#", "secret:a#b c", "secret:ä", "secret:a\n", "${secret:}",
        "x ${secret:a b} y", "secret:file:..", "secret:-x",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(MisuseError) as refused:
        references(text)
    assert text.removeprefix("secret:").strip("${} ") not in str(refused.value.args[0]) or len(text) < 10


@given(st.text(max_size=60))
def test_no_name_ever_leads_out_of_a_folder(text: str) -> None:
    try:
        found = SecretReference.parse(f"secret:file:{text}")
    except MisuseError:
        return
    assert not found.name.startswith("/")
    assert ".." not in found.name.split("/")
    assert "\0" not in found.name
