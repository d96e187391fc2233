"""Nothing outlives the platform, even when it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.registry.conftest import until
from workbench.registry import ServerSpec
from workbench.registry.processes import reaper
from workbench.registry.processes import supervisor as supervisor_module
from workbench.registry.processes.process_marks import ProcessMarks
from workbench.registry.processes.supervisor import Supervisor

PLATFORM = """
import asyncio, sys
from workbench.registry import ServerSpec
from workbench.registry.processes.supervisor import Supervisor

async def main():
    supervisor = Supervisor()
    await supervisor.open()
    for mode in ("nest", "deaf"):
        spec = ServerSpec(id=mode, kind="command", stdio=True, command=(sys.executable, sys.argv[1], mode))
        child = await supervisor.launch(spec)
        child.launched.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\\n')
        line = (await child.launched.stdout.readline()).decode()
        print(child.pid, line.split('"description": "')[1].split('"')[0].replace("pid", ""), flush=True)
    print(supervisor._reaper.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_killed_platform_leaves_no_child_and_no_grandchild() -> None:
    child_server = str(Path(__file__).with_name("child_server.py"))
    platform = subprocess.Popen(
        [sys.executable, "-c", PLATFORM, child_server], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        assert platform.stdout is not None
        pids = [int(word) for _ in range(3) for word in platform.stdout.readline().split()]
        platform.stdout.close()
        assert len(set(pids)) == 5  # nest and its two grandchildren, deaf, the reaper
        assert not any(map(gone, pids))
    finally:
        platform.send_signal(signal.SIGKILL)
        platform.wait()
    deadline = time.monotonic() + 10
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in pids if not gone(pid)] == []


def run_reaper(told: bytes, mark: str = "nobody") -> subprocess.Popen[bytes]:
    helper = subprocess.Popen([sys.executable, "-I", "-S", reaper.__file__, mark], stdin=subprocess.PIPE)
    assert helper.stdin is not None
    helper.stdin.write(told)
    helper.stdin.close()
    return helper


def test_the_reaper_ends_what_it_was_told_and_nothing_else() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    told, untold, taken_back = (subprocess.Popen(sleep, start_new_session=True) for _ in range(3))
    helper = run_reaper(f"+{told.pid}\n+{taken_back.pid}\nnonsense\n+\n-{taken_back.pid}\n".encode())
    assert told.wait(5) == -signal.SIGTERM
    assert helper.wait(5) == 0
    assert untold.poll() is None
    assert taken_back.poll() is None
    for process in (untold, taken_back):
        process.kill()
        process.wait()


def test_the_reaper_does_not_heed_the_signals_of_a_terminal() -> None:
    helper = subprocess.Popen([sys.executable, "-I", "-S", reaper.__file__, "x"], stdin=subprocess.PIPE)
    assert helper.stdin is not None
    ready = time.monotonic() + 5
    ignored = (1 << signal.SIGINT - 1) | (1 << signal.SIGTERM - 1) | (1 << signal.SIGHUP - 1)
    while time.monotonic() < ready:
        status = Path(f"/proc/{helper.pid}/status").read_text()
        mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
        if mask & ignored == ignored:
            break
        time.sleep(0.01)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        helper.send_signal(signum)
    assert helper.poll() is None
    helper.stdin.close()
    assert helper.wait(5) == 0


def test_marked_processes_are_found_by_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    marked = subprocess.Popen(sleep, env={**os.environ, reaper.VARIABLE: "test-mark"}, start_new_session=True)
    other = subprocess.Popen(sleep, env={**os.environ, reaper.VARIABLE: "test-mark-2"}, start_new_session=True)
    assert reaper.marked("test-mark") == [marked.pid]
    reaper.sweep("test-mark")
    assert marked.wait(5) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()
    monkeypatch.setattr(os, "listdir", _no_proc)
    assert reaper.marked("test-mark-2") == []  # as on macOS


def _no_proc(path: str) -> list[str]:
    raise FileNotFoundError(path)


def test_a_group_that_is_gone_is_told_from_one_that_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    assert reaper.send(process.pid, 0)
    process.kill()
    process.wait()
    assert not reaper.send(process.pid, 0)
    assert process.stdin is not None
    process.stdin.close()


LEFT = """
import asyncio, os, signal, sys
from pathlib import Path
from workbench.registry import ServerSpec
from workbench.registry.processes.supervisor import Supervisor

async def main():
    supervisor = Supervisor(Path(sys.argv[1]))
    await supervisor.open()
    sleeper = ServerSpec(id="sleeper", kind="command", stdio=True, command=(sys.executable, "-c", sys.argv[2]))
    child = await supervisor.launch(sleeper)
    os.kill(supervisor._reaper.pid, signal.SIGKILL)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
DEAF_TO_ITS_INPUT = "import time; time.sleep(600)"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
async def test_what_a_killed_platform_and_its_killed_reaper_left_is_ended_by_the_next(tmp_path: Path) -> None:
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", LEFT, str(tmp_path), DEAF_TO_ITS_INPUT],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    orphan = int(killed.stdout)
    assert not gone(orphan)
    said: list[tuple[str, dict[str, object]]] = []
    successor = Supervisor(tmp_path, lambda event, detail: said.append((event, detail)))
    await successor.open()
    try:
        assert said == [("orphans_ended", {"pids": [orphan]})]
        await until(lambda: gone(orphan))
        other = ProcessMarks(tmp_path)
        assert other.take("another") == []  # who lives is left alone
        other.give_up()
    finally:
        await successor.close()


async def test_a_killed_reaper_is_replaced_and_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor_module, "WATCH_INTERVAL_S", 0.01)
    said: list[str] = []
    supervisor = Supervisor(tmp_path, lambda event, detail: said.append(event))
    await supervisor.open()
    try:
        first = supervisor._reaper
        assert first is not None
        first.kill()
        await until(lambda: said == ["reaper_replaced"])
        assert first.returncode is not None  # no zombie is left
        assert supervisor._reaper is not None
        assert supervisor._reaper.poll() is None
    finally:
        await supervisor.close()
    assert list((tmp_path / "launches").iterdir()) == []


STARTING = """
import asyncio, os, sys
from workbench.registry import ServerSpec
from workbench.registry.processes.supervisor import Supervisor

async def main():
    supervisor = Supervisor()
    await supervisor.open()
    for number, file in enumerate(sys.argv[2:]):
        spec = ServerSpec(
            id=f"loading{number}", kind="command", stdio=True, command=(sys.executable, sys.argv[1], "loading"),
            env={"STARTED": file},
        )
        await supervisor.launch(spec)
    print("launched", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_servers_that_are_still_starting_end_with_a_killed_platform(tmp_path: Path, how: int) -> None:
    child_server = str(Path(__file__).with_name("child_server.py"))
    files = [tmp_path / "one", tmp_path / "two"]
    platform = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTING, child_server, *map(str, files),
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert platform.stdout is not None
    try:
        assert await platform.stdout.readline() == b"launched\n"
        await until(lambda: all(file.exists() for file in files))
        pids = [int(word) for file in files for word in file.read_text().split()]
        assert len(pids) == 6
        assert not any(map(gone, pids))
    finally:
        platform.send_signal(how)
        await platform.wait()
        await platform.stdout.read()
    await until(lambda: all(map(gone, pids)))


async def test_the_reaper_starts_with_the_first_process_where_none_is_launched_at_once() -> None:
    supervisor = Supervisor()
    await supervisor.open(launches=False)
    try:
        assert supervisor._reaper is None
        supervisor.forget(1 << 30)
        assert supervisor._reaper is None, "nothing was launched"
        child = await supervisor.launch(
            ServerSpec(id="sleeper", kind="command", stdio=True, command=(sys.executable, "-c", "input()"))
        )
        assert supervisor._reaper is not None
        assert supervisor._reaper.poll() is None
        os.close(supervisor._pipe)  # as if we had died
        supervisor._pipe = os.open(os.devnull, os.O_WRONLY)
        assert await asyncio.wait_for(child.exited(), 10)
    finally:
        await supervisor.close()
