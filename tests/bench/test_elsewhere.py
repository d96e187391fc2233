"""A platform on another machine: its record is asked over HTTP, with the same answers and limits, and stopped there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import workbench
from tests.platforms import up
from workbench.audit import QueryStoppedError
from workbench.client.attached import MissingScopeError
from workbench.config import Settings
from workbench.events import MisuseError, UnauthenticatedError, UnreachableError
from workbench.platform.run_file import RunningPlatform, at_url

pytestmark = pytest.mark.timeout(120)
LONG = "select count(*) from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningPlatform, Path]]:
    home = tmp_path_factory.mktemp("far") / "home"
    with up(home, "--servers", "crm") as (running, _):
        yield running, home


@pytest.fixture
def away(
    platform: tuple[RunningPlatform, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[workbench.Workbench]:
    """Attached by URL and token from a folder that knows nothing of the platform."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_TOKEN", platform[0].token)
    with workbench.open(url=platform[0].url) as opened:
        opened.call("crm.search_customers", query="a", limit=3)
        yield opened


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(platform: tuple[RunningPlatform, Path], tmp_path: Path) -> Command:
    """`workbench ARGS` as a process of its own, with URL and token in the environment."""

    def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "workbench", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment(platform[0], **env),
        )  # fmt: skip

    return command


def environment(running: RunningPlatform, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WORKBENCH_")}
    root = str(Path(workbench.__file__).parents[1])
    return {**clean, "PYTHONPATH": root, "WORKBENCH_URL": running.url, "WORKBENCH_TOKEN": running.token, **more}


@pytest.mark.slow
def test_the_same_statement_gives_the_same_rows_as_beside_the_files(away, platform) -> None:
    query = (
        "select ts, qualified, outcome, latency_us, missing_scopes, args from tool_calls where tool = $t order by ts"
    )
    far = away.sql(query, {"t": "search_customers"})
    with workbench.open(home=platform[1], attach=True) as near:
        assert far.equals(near.sql(query, {"t": "search_customers"}))
        assert far.arrow().schema == near.sql(query, {"t": "search_customers"}).arrow().schema
    assert len(far) >= 1
    assert len(away.sql("select * from range(100)", max_rows=7)) == 7
    assert away.elsewhere
    assert list(Path().iterdir()) == []  # no state folder was made
    assert platform[0].url in repr(away)


@pytest.mark.slow
def test_calls_runs_and_questions_are_read_back(away) -> None:
    request = away.sql("select request_id from tool_calls limit 1")["request_id"][0]
    assert away.recorded_call(request).tool == "crm.search_customers"
    assert away.recorded_call("none") is None
    assert away.recorded_run("none") is None
    assert "crm.search_customers" in set(away.question("slowest_tools", hours=1)["tool"])


@pytest.mark.slow
def test_a_statement_is_refused_or_stopped_as_it_is_there(away) -> None:
    with pytest.raises(MisuseError, match="no table"):
        away.sql("select * from nothing_here")
    with pytest.raises(QueryStoppedError, match=r"longer than 0\.2 s"):
        away.sql(LONG, timeout=0.2)
    with pytest.raises(QueryStoppedError, match="1,000,000 rows"):
        away.sql("select 1::utinyint as a from range(1000001)")
    assert len(away.sql("select 1::utinyint as a from range(1000001)", max_rows=1_000_000)) == 1_000_000


@pytest.mark.slow
def test_exports_are_whole_or_not_there(away, tmp_path_factory, platform) -> None:
    import pyarrow.parquet

    folder = tmp_path_factory.mktemp("out")
    counted: list[int] = []
    path = away.export(folder / "calls.parquet", progress=lambda done, total: counted.append(done))
    assert path.stat().st_size == counted[-1]
    assert pyarrow.parquet.read_table(path).num_rows >= 1
    assert b"search_customers" in away.export(folder / "x", "events", format="jsonl").read_bytes()
    with pytest.raises(MisuseError, match="no table"):
        away.export(folder / "no.csv", "nothing")
    with pytest.raises(MisuseError, match="format"):
        away.export(folder / "no.xlsx")
    assert sorted(p.name for p in folder.iterdir()) == ["calls.parquet", "x"]
    with workbench.open(home=platform[1], attach=True) as near:
        near.export(folder / "near.csv", since="2020-01-01")
    assert b"search_customers" in (folder / "near.csv").read_bytes()


@pytest.mark.slow
def test_what_needs_the_files_says_so(away, run) -> None:
    for use in (lambda: away.verify(), lambda: away.reader):
        with pytest.raises(MisuseError, match="needs the files"):
            use()
    for command in (["audit", "verify"], ["access", "keys"], ["load"], ["access", "clients", "list"]):
        done = run(*command)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "needs the state folder" in done.stderr
    with pytest.raises(MisuseError, match="servers cannot be changed"):
        workbench.open(url="http://127.0.0.1:1", servers=("crm",))


@pytest.mark.slow
def test_the_command_line_asks_the_platform_of_the_environment(run, away, tmp_path) -> None:
    rows = json.loads(run("sql", "select distinct server from tool_calls", "--json").stdout)
    assert {"server": "crm"} in rows
    assert "crm.search_customers" in run("questions", "slowest_tools", "hours=1").stdout
    assert "search_customers" in run("export", "calls").stdout
    assert run("export", "calls", "--tenant", "x").returncode == 2
    assert "runs at" in run("status").stdout
    assert "elsewhere, at" in run("doctor").stdout
    assert run("--home", str(tmp_path / "mine"), "sql", "select count(*) n from tool_calls", "--csv").stdout == "n\n0\n"


@pytest.mark.slow
def test_control_c_ends_the_statement_on_the_server(platform, tmp_path) -> None:
    running, home = platform
    query = LONG + " -- stopped by hand"
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "sql", query, "--timeout", "300"],
        cwd=tmp_path, env=environment(running), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with workbench.open(home=home, attach=True) as near:
        asked = "select count(*) as n from administration where details like '%stopped by hand%'"
        deadline = time.monotonic() + 60
        while not near.sql(asked)["n"][0]:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130, said
        # both places for statements are free again, although that one had five minutes
        with workbench.open(url=running.url, token=running.token) as away:
            for _ in range(3):
                assert away.sql("select 1 as a", timeout=5)["a"][0] == 1


@pytest.mark.slow
def test_a_wrong_token_and_a_missing_scope_are_told_apart(platform) -> None:
    running, home = platform
    with pytest.raises(UnauthenticatedError), workbench.open(url=running.url, token="mk_wrong") as opened:
        opened.sql("select 1")
    from workbench.access import Access

    access = Access(Settings.load(env={}, home=home))
    _, token = access.create_key("eve", roles=(), scopes=("crm:read",))
    access.close()
    with (
        workbench.open(url=f"{running.url}/mcp", token=token) as opened,
        pytest.raises(MissingScopeError, match="audit:read"),
    ):
        opened.sql("select 1")


def test_nothing_at_the_address_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnreachableError, match="does not answer") as raised:
        workbench.open(url="http://127.0.0.1:9", token="x")
    assert "address" in raised.value.hint


@pytest.mark.parametrize(
    "wrong", ["tools.example", "ftp://x", "http://", "http://user:pass@host", "http://h:99999", ""]
)
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(MisuseError, match="no URL of a platform"):
        at_url(wrong, "")


def test_a_state_folder_that_is_named_outranks_the_environment(tmp_path) -> None:
    env = {"WORKBENCH_URL": "http://far.example"}
    assert Settings.load(env=env, cwd=tmp_path).url == "http://far.example"
    assert Settings.load(env=env, cwd=tmp_path, home=tmp_path / "h").url == ""
    assert Settings.load(env=env, cwd=tmp_path, home=tmp_path / "h", url="http://x").url == "http://x"


def test_approvals_are_listed_and_decided_from_elsewhere(run: Command) -> None:
    listed = run("approvals", "--json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, []), listed.stderr
    for word in ("approve", "deny"):
        decided = run("approvals", word, "apr_nothing")
        assert (decided.returncode, "There is no approval" in decided.stderr) == (2, True), decided.stderr
