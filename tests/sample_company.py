"""Servers of the sample company inside the process of the test, for tests whose subject is no child process."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.client import Workbench
from workbench.testing import GatewayHarness, InMemoryServer

SERVERS = Path(__file__).resolve().parents[1] / "servers"
_numbers = itertools.count(1)


def sample_server(name: str, state: Path) -> InMemoryServer:
    """The server `name`, e.g. `crm`, as a module of its own: what is written to it is in `state` and nowhere else."""
    source = SERVERS / name / "server.py"
    described = importlib.util.spec_from_file_location(f"sample_{name}_{next(_numbers)}", source)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[described.name] = module  # annotations of its tools are looked up there
    described.loader.exec_module(module)
    from servers.company import Company

    module.sample = Company(*module.sample.tables[1:], state=state)  # type: ignore[attr-defined]
    return InMemoryServer(module.server, trust="bundled")


def sample_servers(names: tuple[str, ...], home: Path) -> dict[str, InMemoryServer]:
    """Several of them, their state beside the state folder `home`."""
    return {name: sample_server(name, home.parent / f"{home.name}-state-{name}") for name in names}


@contextmanager
def sample_workbench(home: Path, *names: str, **settings: Any) -> Iterator[Workbench]:
    """`workbench.open(home=home, servers=names, attach=False)` without child processes."""
    with GatewayHarness(sample_servers(names, home), home=home, **settings) as harness:
        yield harness.workbench
