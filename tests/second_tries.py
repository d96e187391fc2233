"""Second tries (`--reruns`) are for a machine that is late, not for tests that fail now and then: a run has three."""

from __future__ import annotations

from typing import Final

import pytest

MOST: Final = 3
"""Second tries of one run; with more of them it fails, although every test passed in the end."""


def _tried_again(config: pytest.Config) -> list[str]:
    """The tests that failed once; the reports of all workers arrive at the one process that has a reporter."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [] if reporter is None else [report.nodeid for report in reporter.stats.get("rerun", [])]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    worker = hasattr(session.config, "workerinput")
    if exitstatus == pytest.ExitCode.OK and not worker and len(_tried_again(session.config)) > MOST:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tried = _tried_again(config)
    if len(tried) > MOST:
        terminalreporter.write_line(f"{len(tried)} tests needed a second try, and {MOST} may: find out why.", red=True)
