"""Access tokens: only what an issuer of ours signed for us, now, is somebody; everything else is nobody."""

from __future__ import annotations

import asyncio
import base64
import hmac
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from workbench.access import Access, UnauthenticatedError
from workbench.events import Caller, MisuseError


async def refused(access: Access, token: str, view: str = "") -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await access.authenticate_async(f"Bearer {token}", view)
    assert not token or token[-20:] not in str(caught.value)
    return str(caught.value)


async def caller(access: Access, token: str, view: str = "") -> Caller:
    return await access.authenticate_async(f"Bearer {token}", view)


async def test_a_good_token_is_its_subject_with_its_scopes(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    for key in (issuer.ec, issuer.rsa, issuer.ed):
        found = await caller(access, issuer.token(key=key, scope="crm:read tickets:* openid * bad::scope"))
        assert (found.subject, found.tenant, found.method, found.credential) == ("alice", "local", "jwt", "t1")
        assert found.scopes == {"crm:read", "tickets:*", "openid"}
    assert len(issuer.fetches) == 2  # metadata and keys, once


async def test_the_old_name_of_an_algorithm_is_understood(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    with pytest.warns(SecurityWarning):
        token = issuer.token(key=issuer.ed, header={"alg": "EdDSA"})
    assert await caller(access, token)


async def test_without_issuers_no_token_is_accepted(issuer: Any, open_access: Any) -> None:
    assert "no key" in await refused(open_access(), issuer.token())


async def test_without_a_known_port_no_token_is_accepted(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,), port="auto")
    assert "audience" in await refused(access, issuer.token())


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another audience": ({"aud": "http://127.0.0.1:9999/mcp"}, "audience"),
    "an audience that only begins like ours": ({"aud": "http://127.0.0.1:8800.evil.example/mcp"}, "audience"),
    "an audience behind ours": ({"aud": "http://127.0.0.1:8800/mcp/../x"}, "audience"),
    "no audience": ({"aud": None}, "audience"),
    "an audience that is a number": ({"aud": 8800}, "audience"),
    "audiences that are objects": ({"aud": [{"a": 1}]}, "audience"),
    "expired": ({"exp": 1_000_000_000}, "expired"),
    "no expiry": ({"exp": None}, "expires"),
    "expiry as text": ({"exp": "9999999999"}, "no time"),
    "expiry true": ({"exp": True}, "no time"),
    "expiry beyond all time": ({"exp": 1e300}, "no time"),
    "not yet valid": ({"nbf": 9_999_999_999}, "not valid yet"),
    "issued in the future": ({"iat": 9_999_999_999}, "not valid yet"),
    "another issuer": ({"iss": "https://evil.example"}, "issuer"),
    "the issuer with a slash": ({"iss": "SELF/"}, "issuer"),
    "no issuer": ({"iss": None}, "issuer"),
    "an issuer that is a list": ({"iss": ["x"]}, "issuer"),
    "no subject": ({"sub": None}, "subject"),
    "an empty subject": ({"sub": "  "}, "subject"),
    "a subject with a NUL": ({"sub": "alice\0"}, "subject"),
    "a subject that is a number": ({"sub": 7}, "subject"),
    "bound to a key": ({"cnf": {"jkt": "x"}}, "bound"),
}


@pytest.mark.parametrize("name", CLAIMS)
async def test_a_token_with_one_wrong_claim_is_refused(issuer: Any, open_access: Any, name: str) -> None:
    changes, why = CLAIMS[name]
    changes = {k: v.replace("SELF", issuer.url) if isinstance(v, str) else v for k, v in changes.items()}
    access = open_access(oauth_issuers=(issuer.url,))
    assert why in await refused(access, issuer.token(**changes))
    assert await caller(access, issuer.token())


def _hmac(secret: bytes, text: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256")).rstrip(b"=").decode()


def _forged(issuer: Any) -> dict[str, str]:
    other = ECKey.generate_key("P-256", {"kid": "ec"}, private=True)
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024, {"kid": "short"}, private=True)
    issuer.published.append(short)
    good = issuer.token()
    head, body, signature = good.split(".")
    shared = issuer.unsigned({"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}).rpartition(".")[0]
    return {
        "alg none": issuer.unsigned({"alg": "none", "typ": "at+jwt"}),
        "alg None": issuer.unsigned({"alg": "None", "typ": "at+jwt", "kid": "ec"}),
        "alg none with a signature": issuer.unsigned({"alg": "none", "typ": "at+jwt", "kid": "ec"}, signature),
        "no alg": issuer.unsigned({"typ": "at+jwt", "kid": "ec"}, signature),
        "alg that is a list": issuer.unsigned({"alg": ["ES256"], "typ": "at+jwt", "kid": "ec"}, signature),
        "HS256 with the public key as its secret": f"{shared}.{_hmac(issuer.rsa.as_pem(private=False), shared)}",
        "an algorithm that is not allowed": jwt.encode(
            {"alg": "RS512", "typ": "at+jwt", "kid": "rsa"}, issuer.claims(), issuer.rsa, algorithms=["RS512"]
        ),
        "another key under the same id": issuer.token(key=other),
        "the id of another kind of key": issuer.token(header={"kid": "rsa"}),
        "an id that is a number": issuer.unsigned({"alg": "ES256", "typ": "at+jwt", "kid": 1}, signature),
        "an unknown id": issuer.token(header={"kid": "../../etc/passwd"}),
        "a key of its own in the header": issuer.token(
            key=other, header={"kid": "own", "jwk": other.as_dict(private=False)}
        ),
        "a short RSA key": issuer.token(key=short),
        "an ID token": issuer.token(header={"typ": "JWT"}),
        "no type": issuer.token(header={"typ": None}),
        "a logout token": issuer.token(header={"typ": "logout+jwt"}),
        "critical extensions": issuer.token(header={"crit": ["b64"], "b64": True}),
        "the body of another token": ".".join([head, issuer.token(sub="eve").split(".")[1], signature]),
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "a line behind": f"{good}\n",
        "padding": f"{good}=",
        "oversized": issuer.token(scope="crm:read " * 900),
        "an opaque text": "opaque-token",
        "empty": "",
    }


async def test_a_forged_or_malformed_token_is_refused(issuer: Any, open_access: Any, ticks: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    issuer.lifetime = 1_000_000
    for name, token in _forged(issuer).items():
        ticks.passed += 61  # an unknown key id may lead to a fetch each time
        assert "expired" not in await refused(access, token), name
    assert await caller(access, issuer.token())


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=400) | st.from_regex(r"\A[\w-]+\.[\w-]+\.[\w-]*\Z"))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_no_text_whatever_is_a_caller(settings: Any, text: str) -> None:
    access = Access(settings.replace(port="8800", oauth_issuers=("https://issuer.example",)))
    with pytest.raises(UnauthenticatedError):
        asyncio.run(access.authenticate_async(f"Bearer {text}"))
    access.close()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


async def test_signed_garbage_in_place_of_any_claim_is_refused_or_harmless(issuer: Any, open_access: Any) -> None:
    """The signature is good, so whatever stands in the claims is read: never a crash, never somebody else."""
    access = open_access(oauth_issuers=(issuer.url,), oauth_tenant_claim="org")
    await caller(access, issuer.token(org="acme"))
    names = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "org", "roles", "scope", "jti", "cnf"])
    tokens: list[str] = []

    @given(st.dictionaries(names, _JSON.filter(lambda v: v == v), min_size=1, max_size=4))
    @hypothesis_settings(max_examples=150, deadline=None)
    def generate(changes: dict[str, Any]) -> None:
        tokens.append(issuer.token(**{"org": "acme", **changes}))

    generate()
    for token in tokens:
        try:
            found = await caller(access, token)
        except UnauthenticatedError:
            continue
        assert found.tenant
        assert found.subject
        assert "*" not in found.scopes


async def test_a_token_for_one_server_is_good_at_its_endpoint_alone(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    one = issuer.token(aud="http://localhost:8800/servers/crm/mcp")
    for _ in range(2):  # remembered or not
        assert (await caller(access, one, "crm")).subject == "alice"
        assert "another endpoint" in await refused(access, one, "tickets")
        assert "another endpoint" in await refused(access, one)
    assert await caller(access, issuer.token(aud=["x", "http://127.0.0.1:8800"]), "tickets")
    with pytest.raises(UnauthenticatedError):
        access.authenticate(f"Bearer {one}")


async def test_audiences_of_the_settings_replace_our_urls(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,), oauth_audiences=("api://tools",))
    assert await caller(access, issuer.token(aud="api://tools"), "crm")
    await refused(access, issuer.token())


async def test_behind_a_proxy_the_public_url_is_the_audience(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,), public_url="https://tools.example/")
    assert await caller(access, issuer.token(aud="https://tools.example/mcp"))
    assert access.resources.base("http", "tools.example") == "https://tools.example"
    assert access.resources.base("http", "127.0.0.1:8800") == "http://127.0.0.1:8800"
    named = open_access(oauth_issuers=(issuer.url,), allowed_hosts=("box", "far:9000"))
    assert named.resources.origin == "http://127.0.0.1:8800"
    for good in ("http://box:8800/mcp", "http://far:9000/mcp"):
        assert await caller(named, issuer.token(aud=good))
    await refused(named, issuer.token(aud="http://box/mcp"))
    with pytest.raises(MisuseError, match="public_url"):
        open_access(public_url="https://tools.example/path")


async def test_claims_are_found_where_the_settings_say(issuer: Any, open_access: Any) -> None:
    access = open_access(
        oauth_issuers=(issuer.url,), oauth_tenant_claim="https://acme.example/org", oauth_scopes_claim="scp",
        oauth_roles_claim="realm_access.roles", oauth_subject_claim="email", oauth_token_types=("JWT",),
    )  # fmt: skip
    claims = {
        "https://acme.example/org": "acme",
        "email": "a@acme.example",
        "realm_access": {"roles": ["employee", "x"]},
    }
    found = await caller(access, issuer.token(header={"typ": "JWT"}, scope=None, **claims))
    assert (found.tenant, found.subject, found.roles) == ("acme", "a@acme.example", ("employee",))
    assert found.has("crm:read")
    narrow = await caller(access, issuer.token(header={"typ": "JWT"}, scp=["crm:*", "payments:write"], **claims))
    assert narrow.scopes == {"crm:read"}
    assert "tenant" in await refused(access, issuer.token(header={"typ": "JWT"}, email="a"))


async def test_clocks_may_be_half_a_minute_apart(issuer: Any, open_access: Any, ticks: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    now = ticks.clock() // 1_000_000
    assert await caller(access, issuer.token(exp=now - 25))
    assert await caller(access, issuer.token(nbf=now + 25))
    assert "expired" in await refused(access, issuer.token(exp=now - 31))
    token = issuer.token(exp=now + 10)
    assert await caller(access, token)
    ticks.passed = 41
    assert "expired" in await refused(access, token)


async def test_a_new_key_is_found_and_a_removed_one_is_forgotten(issuer: Any, open_access: Any, ticks: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    old = issuer.token(exp=9_999_999_999)
    await caller(access, old)
    new = ECKey.generate_key("P-256", {"kid": "new"}, private=True)
    issuer.published = [new]
    ticks.passed = 61
    assert await caller(access, issuer.token(key=new))
    assert "does not publish" in await refused(access, old)


async def test_unknown_key_ids_cost_one_fetch_a_minute(issuer: Any, open_access: Any, ticks: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    await caller(access, issuer.token())
    before = len(issuer.fetches)
    ticks.passed = 61
    for i in range(20):
        await refused(access, issuer.token(header={"kid": f"k{i}"}))
    assert len(issuer.fetches) - before == 2


async def test_callers_who_wait_for_keys_share_one_fetch(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    issuer.gate = asyncio.Event()
    waiting = [asyncio.create_task(caller(access, issuer.token(sub=f"u{i}"))) for i in range(10)]
    async with asyncio.timeout(10):
        while "jwks" not in issuer.fetches:  # noqa: ASYNC110 - the issuer's list is what there is to see
            await asyncio.sleep(0.005)
        waiting.pop().cancel()  # who goes away takes nobody with them
        issuer.gate.set()
        found = await asyncio.gather(*waiting)
    assert {c.subject for c in found} == {f"u{i}" for i in range(9)}
    assert issuer.fetches.count("jwks") == 1


async def test_an_issuer_that_is_down_is_borne_for_an_hour(issuer: Any, open_access: Any, ticks: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,))
    token = issuer.token(exp=9_999_999_999)
    await caller(access, token)
    issuer.down = True
    ticks.passed = 3000
    assert await caller(access, token)
    ticks.passed = 3700
    assert "cannot be had" in await refused(access, token)
    issuer.down = False
    ticks.passed = 3702
    assert "cannot be had" in await refused(access, token)  # not asked again at once
    ticks.passed = 3710
    assert await caller(access, token)


@pytest.mark.parametrize("metadata", [{"issuer": "https://other.example"}, {"jwks_uri": "http://169.254.169.254/"},
                                      {"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"}])  # fmt: skip
async def test_metadata_of_another_issuer_or_leading_astray_is_not_followed(
    issuer: Any, open_access: Any, metadata: dict[str, Any]
) -> None:
    issuer.metadata = metadata
    assert "cannot be had" in await refused(open_access(oauth_issuers=(issuer.url,)), issuer.token())
    assert "jwks" not in issuer.fetches


@pytest.mark.parametrize(
    "changes",
    [
        {"oauth_issuers": ("http://idp.example",)},
        {"oauth_issuers": ("idp.example",)},
        {"oauth_algorithms": ("ES256", "none")},
        {"oauth_algorithms": ("HS256",)},
    ],
)
async def test_settings_that_cannot_be_meant_stop_the_start(open_access: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(MisuseError):
        open_access(**changes)


# --- tokens that say nothing themselves ------------------------------


async def test_an_opaque_token_is_what_introspection_says(
    issuer: Any, open_access: Any, ticks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_OAUTH_INTROSPECTION_SECRET", "s e:cret")
    access = open_access(oauth_introspection_url=f"{issuer.url}/introspect", oauth_introspection_client="gateway")
    issuer.opaque["abc"] = {"active": True, **issuer.claims(jti="abc", token_type="Bearer")}
    found = await caller(access, "abc")
    assert (found.subject, found.method, found.scopes) == ("alice", "introspection", {"crm:read"})
    assert "abc" not in found.credential  # some issuers use the token itself as its id
    assert await caller(access, "abc") == found
    assert len(issuer.asked) == 1
    assert issuer.asked[0]["basic"] == "Basic Z2F0ZXdheTpzK2UlM0FjcmV0"  # form-encoded, as RFC 6749 §2.3.1 asks
    issuer.opaque.clear()
    ticks.passed = 31  # revoked there, it is good no longer than half a minute here
    assert "not active" in await refused(access, "abc")


@pytest.mark.parametrize(
    "answer",
    [{"active": False}, {"active": "true"}, {"active": 1}, {}, {"active": True, "aud": "x"},
     {"active": True, "aud": None},
     {"active": True, "exp": 1}, {"active": True, "token_type": "DPoP"}, {"active": True, "cnf": {}},
     {"active": True, "sub": None}, {"active": True, "iss": "https://evil.example"}],
)  # fmt: skip
async def test_an_answer_that_is_not_a_plain_yes_for_us_is_a_no(
    issuer: Any, open_access: Any, answer: dict[str, Any]
) -> None:
    access = open_access(oauth_introspection_url=f"{issuer.url}/introspect", oauth_issuers=(issuer.url,))
    issuer.opaque["abc"] = {**issuer.claims(), **answer} if answer else {}
    issuer.opaque["abc"] = {k: v for k, v in issuer.opaque["abc"].items() if v is not None}
    await refused(access, "abc")


async def test_unknown_opaque_tokens_are_not_asked_about_twice_at_once(
    issuer: Any, open_access: Any, ticks: Any
) -> None:
    access = open_access(oauth_introspection_url=f"{issuer.url}/introspect")
    for _ in range(5):
        await refused(access, "nobody")
    assert len(issuer.asked) == 1
    ticks.passed = 11
    await refused(access, "nobody")
    assert len(issuer.asked) == 2


async def test_a_flood_of_opaque_tokens_is_refused_beyond_a_bound(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_introspection_url=f"{issuer.url}/introspect")
    issuer.gate = asyncio.Event()
    asking = [asyncio.create_task(refused(access, f"t{i}")) for i in range(40)]
    async with asyncio.timeout(10):
        while sum(task.done() for task in asking) < 8:  # noqa: ASYNC110 - any eight of them
            await asyncio.sleep(0.005)
        issuer.gate.set()
        answers = await asyncio.gather(*asking)
    assert sum("Too many" in answer for answer in answers) == 8


async def test_without_the_secret_for_introspection_nothing_starts_and_nobody_is_let_in(
    issuer: Any, open_access: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKBENCH_OAUTH_INTROSPECTION_SECRET", raising=False)
    access = open_access(oauth_introspection_url=f"{issuer.url}/introspect", oauth_introspection_client="gateway")
    assert access.keys() == []  # what needs no tokens works
    with pytest.raises(MisuseError, match="no secret"):
        access.tokens.check()
    await refused(access, "abc")
    assert issuer.asked == []


async def test_introspection_that_does_not_answer_lets_nobody_in(open_access: Any) -> None:
    access = open_access(oauth_introspection_url="http://127.0.0.1:9/introspect")
    assert "cannot be checked" in await refused(access, "abc")


async def test_what_is_remembered_of_tokens_is_bounded(
    issuer: Any, open_access: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.access import access_tokens as tokens
    from workbench.access import callers

    monkeypatch.setattr(callers, "MAX_CACHED", 3)
    monkeypatch.setattr(tokens, "MAX_CACHED", 3)
    access = open_access(oauth_issuers=(issuer.url,))
    made = [issuer.token(sub=f"u{i}") for i in range(9)]
    for token in made:
        await caller(access, token)
        assert len(access._known) <= 3
        assert len(access.tokens._remembered) <= 3
    kept = repr(access._known) + repr(list(access.tokens._remembered))
    assert not any(token in kept or token.split(".")[2] in kept for token in made)


async def test_only_the_actors_of_the_settings_act_for_others(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,), oauth_actors=("planner", "desk"))
    assert await caller(access, issuer.token())
    assert await caller(access, issuer.token(act={"sub": "planner", "act": {"sub": "anybody"}}))
    for act in ({"sub": "exporter"}, {"sub": ["planner"]}, {"act": {"sub": "planner"}}, {}, "planner", None):
        if act is not None:  # a claim of null is left out when the token is made
            assert "actor" in await refused(access, issuer.token(act=act))
    assert await caller(open_access(oauth_issuers=(issuer.url,)), issuer.token(act={"sub": "exporter"}))


async def test_a_token_that_is_good_for_too_long_is_refused(issuer: Any, open_access: Any) -> None:
    access = open_access(oauth_issuers=(issuer.url,), oauth_max_lifetime=600)
    assert await caller(access, issuer.token())
    issuer.lifetime = 86_400
    assert "longer" in await refused(access, issuer.token())
    assert "longer" in await refused(access, issuer.token(iat=None))
