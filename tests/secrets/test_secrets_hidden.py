"""Canaries are planted wherever secrets can be, and everything that a workbench tells or keeps is searched for them."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.platforms import up
from workbench.secrets import hide, hide_bytes, hide_in_logs, masking, remember, remember_all, remember_named

TELLTALE = Path(__file__).with_name("telltale_server.py")


@pytest.fixture(autouse=True)
def unremembered() -> Iterator[None]:
    """What one test hides is not hidden for the others."""
    lasting = set(masking._lasting)
    values, forms, factory, hook = dict(masking._values), masking._forms, logging.getLogRecordFactory(), sys.excepthook
    yield
    masking._lasting.clear()
    masking._lasting.update(lasting)
    masking._values.clear()
    masking._values.update(values)
    masking._forms = forms
    logging.setLogRecordFactory(factory)
    sys.excepthook = hook


def test_known_values_are_taken_out_of_texts_and_json() -> None:
    odd = 'canary "quoted" \\ ünd\n'
    remember("canary-short")
    remember("canary-short-and-longer")
    remember(odd)
    assert hide("a canary-short-and-longer b canary-short c") == "a <secret> b <secret> c"
    for text in (json.dumps({"x": odd}), json.dumps({"x": odd}, ensure_ascii=False)):
        if "\\u" in text:
            assert hide(text) == '{"x": "<secret>"}'
        assert json.loads(hide_bytes(json.dumps({"x": odd}).encode())) == {"x": "<secret>"}
    assert hide("nothing here") == "nothing here"


def test_what_is_too_short_to_be_told_from_words_is_left() -> None:
    remember("admin")
    assert hide("the admin of it") == "the admin of it"


def test_only_so_many_values_are_remembered() -> None:
    for number in range(masking.MAX_VALUES + 10):
        remember(f"canary-number-{number}-")
    assert len(masking._values) == masking.MAX_VALUES
    assert hide(f"canary-number-{masking.MAX_VALUES}-") == "<secret>"


def test_what_lasts_is_hidden_however_many_tokens_come_and_go() -> None:
    remember_all({"DATABASE_PASSWORD": "canary-of-the-database"}, ["redis://:canary-of-redis@host:6379"])
    remember_named("Authorization", "Bearer canary-of-a-server")
    remember("canary-read-again")
    for number in range(2 * masking.MAX_VALUES):
        remember(f"canary-number-{number}-")
        remember("canary-read-again")
    assert len(masking._values) == len(masking._forms) == masking.MAX_VALUES
    for value in ("of-the-database", "of-redis", "of-a-server", "read-again", f"number-{2 * masking.MAX_VALUES - 1}-"):
        assert hide(f"a canary-{value} b") == "a <secret> b", value


def test_names_tell_which_values_are_secrets() -> None:
    remember_named("Authorization", "Bearer canary-bearer")
    remember_all(
        {"CRM_API_KEY": "canary-key-1", "LOG_LEVEL": "canary-level", "GITHUB_TOKEN": "secret:github-token"},
        ["redis://:canary-redis@cache:6379/0", "https://nobody.example"],
    )
    assert hide("canary-bearer canary-key-1 canary-level secret:github-token canary-redis") == (
        "<secret> <secret> canary-level secret:github-token <secret>"
    )


def test_logs_and_their_tracebacks_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    remember("canary-of-logs")
    hide_in_logs()
    hide_in_logs()
    log = logging.getLogger("some.library")
    log.warning("connecting with %s", "canary-of-logs")
    try:
        raise ValueError("refused: canary-of-logs")
    except ValueError:
        log.exception("it failed with canary-of-logs")
    log.warning("%d does not fit", "canary-of-logs")
    assert "canary" not in caplog.text
    assert "connecting with <secret>" in caplog.text
    assert "ValueError: refused: <secret>" in caplog.text


def test_a_crash_tells_no_secret() -> None:
    code = (
        "from workbench.secrets import hide_in_logs, remember\n"
        "hide_in_logs(); remember('canary-of-crash')\n"
        "raise RuntimeError('with canary-of-crash')"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "RuntimeError: with <secret>" in found.stderr
    assert "canary" not in found.stderr.replace("remember('canary-of-crash')", "").replace("with canary-of", "")


# --- a whole platform ------------------------------------------------------------------------------------------

HEADER, VARIABLE, PLAIN, PROVIDER, LOOSE = (
    f"canary-{name}-71c2" for name in ("header", "variable", "plain", "provider", "loose")
)


@contextlib.contextmanager
def telltale(**env: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(TELLTALE), str(port)], env={"PATH": "/usr/bin:/bin", **env}, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def put(folder: Path, name: str, value: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(value)
    (folder / name).chmod(0o600)


def asked(url: str, token: str, path: str, body: Any = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=30) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as e:
        with e:
            return e.read().decode()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_canary_leaves_a_platform(tmp_path: Path) -> None:
    vault, home = tmp_path / "vault", tmp_path / "home"
    put(vault, "header", HEADER)
    put(vault, "variable", VARIABLE)
    put(vault, "provider", PROVIDER)
    put(vault, "loose", LOOSE)
    (vault / "loose").chmod(0o644)
    command = {"command": sys.executable, "args": [str(TELLTALE), "stdio"]}
    with telltale(TELLTALE_WANTED=HEADER) as port:
        (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {
            "remote": {"url": f"http://127.0.0.1:{port}/mcp", "headers": {"Authorization": "Bearer ${secret:header}"}},
            "child": {**command, "env": {"TELLTALE_TOKEN": "secret:file:variable", "TELLTALE_API_KEY": PLAIN}},
            "broken": {**command, "env": {"TELLTALE_TOKEN": "secret:loose"}},
            "lost": {"url": f"http://127.0.0.1:{port}/mcp", "headers": {"Authorization": "secret:nowhere"}},
        }}))  # fmt: skip
        env = {
            "WORKBENCH_SECRETS_FOLDER": str(vault), "OPENAI_API_KEY": "secret:provider",
            "WORKBENCH_MCP_CONFIG": str(tmp_path / "mcp.json"),
        }  # fmt: skip
        with up(home, "--servers", "", env=env) as (running, _):
            told = {}
            for tool in ("remote.tell", "remote.fail", "child.tell", "child.fail", "child.die", "child.tell"):
                told[tool] = asked(running.url, running.token, "/api/platform/call", {"tool": tool, "arguments": {}})
            for _ in range(300):  # the program that died is started again after a pause
                if '"unavailable"' not in told["child.tell"]:
                    break
                time.sleep(0.1)
                told["child.tell"] = asked(
                    running.url, running.token, "/api/platform/call", {"tool": "child.tell", "arguments": {}}
                )
            for path in (
                "/api/platform/servers",
                "/api/platform/tools",
                "/status",
                "/metrics",
                "/api/platform/providers",
            ):
                told[path] = asked(running.url, running.token, path)
            for words in (
                ["doctor"], ["doctor", "--json"], ["doctor", "--security"], ["servers", "--json"], ["tools", "--json"],
                ["sql", "select * from events", "--json"], ["call", "remote.tell", "--json"], ["providers"],
            ):  # fmt: skip
                told[" ".join(words)] = cli(home, tmp_path, env, words)
        assert "bearer <secret>" in told["remote.tell"].lower(), told["remote.tell"]
        assert "<secret>" in told["remote.fail"], told["remote.fail"]
        assert "<secret>" in told["child.tell"], told["child.tell"]
        assert "secret:nowhere: The secret" in told["doctor"]
        assert "secret:header from file" in told["doctor --security"]
        assert "secret:file:variable from file" in told["doctor --security"]
        assert "others may read it" in told["doctor --security"]
        assert "secret:nowhere" in told["/api/platform/servers"]
    everything = {**told, **{str(p): p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if kept(p, vault)}}
    assert any(name.endswith("up.log") for name in everything)
    for name, text in everything.items():
        for canary in (HEADER, VARIABLE, PROVIDER, LOOSE, *([] if name.endswith("mcp.json") else [PLAIN])):
            assert canary not in text, f"{canary} in {name}"


def kept(path: Path, vault: Path) -> bool:
    return path.is_file() and vault not in path.parents


def cli(home: Path, cwd: Path, env: dict[str, str], words: list[str]) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "workbench", "--home", str(home), *words], cwd=cwd, text=True, timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "COLUMNS": "400", **env}, capture_output=True,
    )  # fmt: skip
    return found.stdout + found.stderr


@given(
    st.lists(st.text('abcdefgh\u00e9"', min_size=6, max_size=40), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_many_secrets_are_hidden_in_long_texts_as_each_by_itself(values: list[str], random: Any) -> None:
    masking._values.clear()
    for value in [*values, *(f"another-secret-{number:020}" for number in range(60))]:
        masking.remember(value)
    words = [*values, *("x" * random.randrange(1, 20) for _ in range(4))]
    text = "".join(random.choice(words) for _ in range(400)).ljust(masking._SHORT + 1, ".").encode()
    one_by_one = text
    for form in masking._forms:
        one_by_one = one_by_one.replace(form.data, masking.HIDDEN.encode())
    assert masking.hide_bytes(text) == one_by_one


@pytest.mark.parametrize("length", [6, 14, 15, 22, 23, 38, 39, 60])
def test_a_secret_is_found_wherever_it_stands_in_a_long_text(length: int) -> None:
    masking._values.clear()
    secret = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[:length]
    for value in [secret, *(f"another-secret-{number:040}" for number in range(60))]:
        masking.remember(value)
    size = 8 * masking._WORDS_AT_ONCE + 5
    places = [*range(70), *range(size - 5 - 2 * length, size - length + 1)]
    for at in places:
        text = b"." * at + secret.encode() + b"." * (size - at - length)
        assert masking.hide_bytes(text) == b"." * at + b"<secret>" + b"." * (size - at - length)
    masking.remember("a-secret-of-tomorrow")
    assert masking.hide_bytes(b"." * size + b"a-secret-of-tomorrow").endswith(b".<secret>")


class Searched(bytes):
    """A text that counts how often all of it is searched for one value."""

    searches = 0

    def __contains__(self, value: Any) -> bool:
        Searched.searches += 1
        return super().__contains__(value)

    def replace(self, *args: Any) -> bytes:
        Searched.searches += 1
        return super().replace(*args)


@pytest.mark.parametrize("longest", [24, 40, 80])
@pytest.mark.parametrize("seed", range(8))
def test_hundreds_of_secrets_in_one_text_are_hidden_in_one_pass(longest: int, seed: int) -> None:
    random = Random(seed)
    masking._values.clear()
    letters = "ab" * 8 + "0123456789"
    values = [f"issuer-{''.join(random.choices(letters, k=random.randrange(8, longest)))}" for _ in range(100)]
    for value in values:
        masking.remember(value)
    between = ["", "", "issuer-", " ", "abababab", "x" * 9]
    chosen = [random.choice(values) for _ in range(300)] + values
    text = "".join(random.choice(between) + each for each in chosen).encode()
    covered = bytearray(len(text))
    for form in masking._forms:
        at = text.find(form.data)
        while at >= 0:
            covered[at : at + len(form.data)] = b"1" * len(form.data)
            at = text.find(form.data, at + 1)
    Searched.searches = 0
    hidden = masking.hide_bytes(Searched(text))
    assert Searched.searches == 0
    left = bytes(byte for byte, secret in zip(text, covered, strict=True) if not secret)
    assert hidden.replace(b"<secret>", b"") == left


def test_secrets_side_by_side_are_hidden_each_and_what_is_around_them_stays() -> None:
    masking._values.clear()
    values = [f"another-secret-{number:040}" for number in range(50)]
    for value in values:
        masking.remember(value)
    text = "".join(f"{'.' * number}{value}{value}" for number, value in enumerate(values)) + "end"
    expected = "".join(f"{'.' * number}<secret><secret>" for number in range(50)) + "end"
    assert masking.hide_bytes(text.encode() * 3) == expected.encode() * 3


def test_a_long_text_is_looked_through_in_pieces_of_bounded_size() -> None:
    values = [f"issuer-{number:03d}-{'x' * 30}" for number in range(20)]
    for value in values:
        remember(value)
    piece = 8 * masking._WORDS_AT_ONCE
    text = b" ".join(value.encode() for value in values) + b"." * (20 * piece)
    steps, work = 0, masking.hide_in_pieces(text)
    while True:
        try:
            next(work)
        except StopIteration as end:
            found = end.value
            break
        steps += 1
    assert steps >= len(text) // piece
    assert found == hide_bytes(text) == b" ".join([b"<secret>"] * 20) + b"." * (20 * piece)
    assert hide(text.decode()) == found.decode()


def test_where_nothing_is_known_nothing_is_looked_through() -> None:
    masking._values.clear()
    masking._forms = ()
    with pytest.raises(StopIteration) as end:
        next(masking.hide_in_pieces(b"x" * 100_000))
    assert end.value.value == b"x" * 100_000
