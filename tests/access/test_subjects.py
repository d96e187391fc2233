"""Nobody can be taken for somebody else: subjects that hide something, or look like one that is there, are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.access import UnauthenticatedError
from workbench.events import MisuseError
from workbench.lookalikes import imitated, skeleton, subject_objection, unseen

HIDING = {
    "empty": "", "blanks": "  ", "NUL": "ann\0", "escape": "\x1b[2Jann", "line feed": "ann\nbob", "tab": "ann\tb",
    "delete": "ann\x7f", "C1": "ann\x85", "zero width space": "an\u200bn", "joiner": "an\u200dn", "BOM": "\ufeffann",
    "soft hyphen": "an\u00adn", "override": "ann\u202enna", "isolate": "\u2066ann\u2069", "filler": "ann\u3164",
    "braille blank": "ann\u2800", "selector": "ann\ufe0f", "tag": "ann\U000e0041", "grapheme joiner": "an\u034fn",
    "line separator": "ann\u2028", "leading blank": " ann", "trailing blank": "ann ", "no-break blank": "ann\u00a0b",
    "ideographic blank": "ann\u3000b", "private use": "ann\ue000", "surrogate": "ann\ud800", "decomposed": "Jose\u0301",
    "too long": "a" * 257,
}  # fmt: skip

LIKE_ANN_SMITH = (
    "Ann.Smith", "ANN.SMITH", "\uff41nn.smith", "\u0430nn.smith", "ann.\u0455mith", "ann.srnith",
    "ann.sm\u0131th", "ann\uff0esmith",
)  # fmt: skip


@pytest.mark.parametrize("kind", HIDING)
async def test_a_key_for_a_subject_that_hides_something_is_refused(open_access: Any, kind: str) -> None:
    access = open_access()
    with pytest.raises(MisuseError, match="subject"):
        access.create_key(HIDING[kind], roles=("viewer",))
    with pytest.raises(MisuseError, match="tenant"):
        access.create_key("ann", roles=("viewer",), tenant=HIDING[kind])


@pytest.mark.parametrize("name", LIKE_ANN_SMITH)
async def test_a_key_for_a_look_alike_is_refused_and_says_of_whom(open_access: Any, name: str) -> None:
    access = open_access()
    access.create_key("ann.smith", roles=("viewer",))
    with pytest.raises(MisuseError, match=r"taken for 'ann\.smith'"):
        access.create_key(name, roles=("viewer",))
    access.create_key("ann.smith", roles=("employee",))  # another key of the same person
    access.create_key(name, roles=("viewer",), tenant="globex")  # somebody of another tenant


async def test_a_look_alike_of_somebody_whose_keys_have_ended_is_refused_too(open_access: Any) -> None:
    access = open_access()
    info, _ = access.create_key("ann", roles=("viewer",))
    access.revoke(info.id)
    with pytest.raises(MisuseError, match="taken for 'ann'"):
        access.create_key("Ann", roles=("viewer",))


@pytest.mark.parametrize(
    "name", ["ann", "José", "Łukasz Żak", "山田太郎", "محمد", "auth0|5f7c8e", "ann@acme.example", "O'Brien"]
)
async def test_names_of_people_and_programs_are_accepted(open_access: Any, name: str) -> None:
    assert open_access().create_key(name, roles=("viewer",))[0].subject == name


async def test_a_token_whose_subject_hides_something_or_imitates_is_denied_with_the_reason(
    issuer: Any, open_access: Any
) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    access.create_key("ann.smith", roles=("viewer",))
    for name in ("ann\u200b.smith", "ann.smith ", "a\x07", "\u202eann"):
        with pytest.raises(UnauthenticatedError, match="no proper subject: it"):
            await access.authenticate_async(f"Bearer {issuer.token(sub=name)}")
    for name in ("Ann.Smith", "\u0430nn.smith"):
        with pytest.raises(UnauthenticatedError, match=r"can be taken for 'ann\.smith'"):
            await access.authenticate_async(f"Bearer {issuer.token(sub=name)}")
    assert (await access.authenticate_async(f"Bearer {issuer.token(sub='ann.smith')}")).subject == "ann.smith"


async def test_whom_a_key_was_made_for_a_moment_ago_cannot_be_imitated_either(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    assert (await access.authenticate_async(f"Bearer {issuer.token(sub='Bob.Jones')}")).subject == "Bob.Jones"
    access.create_key("eve.adams", roles=("viewer",))
    with pytest.raises(UnauthenticatedError, match=r"can be taken for 'eve\.adams'"):
        await access.authenticate_async(f"Bearer {issuer.token(sub='Eve.Adams')}")


async def test_whom_another_process_made_a_key_for_cannot_be_imitated_once_that_was_noticed(
    issuer: Any, open_access: Any
) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    await access.authenticate_async(f"Bearer {issuer.token(sub='bob')}")
    open_access().create_key("eve.adams", roles=("viewer",))
    access.forget()
    with pytest.raises(UnauthenticatedError, match=r"can be taken for 'eve\.adams'"):
        await access.authenticate_async(f"Bearer {issuer.token(sub='Eve.Adams')}")


@given(st.text(max_size=20), st.sampled_from("\u200b\u2060\ufeff\u00ad\u3164\u034f"))
def test_what_nobody_sees_makes_no_other_name(name: str, hidden: str) -> None:
    assert skeleton(name + hidden) == skeleton(name) or not name.isprintable()
    assert subject_objection(name + hidden)


@given(st.text(min_size=1, max_size=20))
def test_what_is_accepted_can_be_seen(name: str) -> None:
    if not subject_objection(name):
        assert name.strip() == name
        assert not any(unseen(char) for char in name)
        assert imitated(name, frozenset([name])) == ""
