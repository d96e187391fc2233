"""Of what servers write to standard error, the lines that say why they failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.registry.processes.stderr_lines import (
    MAX_LINES,
    clean_line,
    recent_and_earlier,
    tells_of_error,
    useful_lines,
)

CASES: dict[str, tuple[str, list[str]]] = {
    "npm cannot find a package": (
        """npm warn exec The following package was not found and will be installed: nope@0.0.1
npm error code E404
npm error 404 Not Found - GET https://registry.example/nope - Not found
npm error A complete log of this run can be found in: /home/me/.npm/_logs/2026-debug-0.log
npm notice
npm notice New major version of npm available! 10 -> 11
""",
        ["npm error code E404", "npm error 404 Not Found - GET https://registry.example/nope - Not found"],
    ),
    "an exception of Node.js": (
        """node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module '/srv/dist/index.js'
    at Function._resolveFilename (node:internal/modules/cjs/loader:1225:15)
    at async run (file:///srv/index.js:10:3)
    at node:internal/main/run_main_module:36:49 {
  code: 'MODULE_NOT_FOUND',
}

Node.js v22.1.0
""",
        ["  throw err;", "Error: Cannot find module '/srv/dist/index.js'", "  code: 'MODULE_NOT_FOUND',"],
    ),
    "a traceback of Python": (
        """Traceback (most recent call last):
  File "/srv/a.py", line 1, in <module>
    main()
    ~~~~^^
  File "/srv/a.py", line 9, in main
    raise ValueError("no host")
ValueError: no host
""",
        ["ValueError: no host"],
    ),
    "a chain of Python": (
        """Traceback (most recent call last):
  File "/srv/a.py", line 1, in <module>
    one()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/a.py", line 3, in <module>
    two()
RuntimeError: cannot connect
""",
        ["KeyError: 'x'", "RuntimeError: cannot connect"],
    ),
    "an exception of Java": (
        """Exception in thread "main" java.lang.IllegalStateException: no datasource
\tat com.example.App.main(App.java:10)
\tat java.base/java.lang.Thread.run(Thread.java:840)
Caused by: java.net.ConnectException: Connection refused
\t... 12 more
""",
        [
            'Exception in thread "main" java.lang.IllegalStateException: no datasource',
            "Caused by: java.net.ConnectException: Connection refused",
        ],
    ),
    "a panic of Rust": (
        """thread 'main' panicked at src/main.rs:4:5:
ExpectedInitializeRequest
stack backtrace:
   0: 0x55d - std::backtrace_rs::trace
   1: core::panicking::panic_fmt
note: run with `RUST_BACKTRACE=full` environment variable to display a backtrace
""",
        ["thread 'main' panicked at src/main.rs:4:5:", "ExpectedInitializeRequest"],
    ),
    "causes of Rust": (
        "Error: cannot start\n\nCaused by:\n    0: failed to connect\n    1: Connection refused (os error 111)\n",
        [
            "Error: cannot start", "Caused by:", "    0: failed to connect", "    1: Connection refused (os error 111)",
        ],
    ),
    "a panic of Go": (
        "panic: no config\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/main.go:8 +0x1d\nexit status 2\n",
        ["panic: no config", "main.main()", "exit status 2"],
    ),
    "progress of a download": (
        "Downloading 12%\rDownloading 99%\r\n⠋ Resolving\n[####------] 40%\n━━━━━━ 3.1/9.9 MB\nerror: no space left\n",
        ["error: no space left"],
    ),
    "an error that speaks of percent": ("Error: disk is 100% full\n", ["Error: disk is 100% full"]),
    "colours": ("\x1b[31mError: \x1b[0mno key\x1b]0;title\x07\n", ["Error: no key"]),
    "one thing again and again": ("retrying\n" * 50 + "gave up: refused\n", ["retrying", "gave up: refused"]),
    "noise alone": ("npm notice\n\n\n", ["npm notice"]),
    "nothing": ("", []),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_the_lines_that_say_why_are_kept(kind: str) -> None:
    text, expected = CASES[kind]
    assert useful_lines([clean_line(line) for line in text.split("\n")]) == expected


def test_an_error_is_kept_before_what_came_after_it() -> None:
    lines = ["start", "Error: API_KEY is required", *(f"closing handle {n}" for n in range(100))]
    found = useful_lines(lines)
    assert len(found) == MAX_LINES
    assert found[0] == "Error: API_KEY is required"
    assert found[-1] == "closing handle 99"


def test_what_was_written_over_is_not_shown() -> None:
    assert clean_line("10%\r100%\rdone\r") == "done"
    assert clean_line("\r\r") == ""


@pytest.mark.parametrize(("line", "tells"), [("Error: x", True), ("    at f (a.js:1:2)", False), ("listening", False)])
def test_lines_of_errors_are_known(line: str, tells: bool) -> None:
    assert tells_of_error(line) is tells


@given(st.lists(st.text(max_size=80)))
def test_something_is_shown_whenever_something_was_written(lines: list[str]) -> None:
    cleaned = [clean_line(line) for line in lines]
    found = useful_lines(cleaned)
    assert len(found) <= MAX_LINES
    assert bool(found) is any(line.strip() for line in cleaned)
    assert not any("\x1b" in line or "\r" in line for line in found)


OLD = [(0.0, "Traceback (most recent call last):"), (0.0, '  File "a.py", line 1'), (1.0, "ValueError: bad invoice")]


@pytest.mark.parametrize(
    ("lines", "now", "said"),
    [
        (OLD, 2.0, ["ValueError: bad invoice"]),
        (OLD, 241.0, ["(Earlier, 4 min before, it wrote to its standard error:)", "ValueError: bad invoice"]),
        (
            [*OLD, (240.0, "INFO call of tool x")],
            241.0,
            [
                "INFO call of tool x",
                "(Earlier, 4 min before, it wrote to its standard error:)",
                "ValueError: bad invoice",
            ],
        ),
        ([*OLD, (240.0, "MemoryError: out of memory")], 241.0, ["MemoryError: out of memory"]),
        ([(0.0, "listening")], 30.0, ["(Earlier, 30 s before, it wrote to its standard error:)", "listening"]),
        ([(0.0, "up")], 90_000.0, ["(Earlier, 25 h before, it wrote to its standard error:)", "up"]),
        ([(0.0, "  ")], 30.0, []),
        ([], 30.0, []),
    ],
)
def test_what_was_written_long_before_is_said_to_have_been(
    lines: list[tuple[float, str]], now: float, said: list[str]
) -> None:
    assert recent_and_earlier(lines, now) == said
