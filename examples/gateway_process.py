"""Run a platform with a URL of its own, as `workbench up` in a terminal does."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import workbench


@contextlib.contextmanager
def gateway(home: str, servers: str) -> Iterator[tuple[workbench.Workbench, workbench.RunningPlatform]]:
    """A workbench attached to a new platform, and its URLs and token; the platform stops when the block ends."""
    command = [
        sys.executable,
        "-m",
        "workbench",
        "--home",
        home,
        "up",
        "--port",
        "auto",
        "--no-app",
        "--servers",
        servers,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with _attach(home, process) as wb:
                assert wb.running is not None, "an attached workbench knows its platform"
                yield wb, wb.running
        finally:
            process.terminate()


def _attach(home: str, process: subprocess.Popen[bytes]) -> workbench.Workbench:
    while process.poll() is None:
        with contextlib.suppress(workbench.Unreachable):  # it has not written its address yet
            return workbench.open(home=home, attach=True)
        time.sleep(0.1)
    raise SystemExit(f"`workbench up` ended with exit code {process.returncode}. Run it in a terminal to see why.")
