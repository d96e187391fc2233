"""The façade: opens and closes everything, owns the one event-loop thread, attaches to a platform that runs."""

from workbench.bench.results import Result, Run, Servers, Tools
from workbench.bench.workbench import Workbench, open

__all__ = ["Result", "Run", "Servers", "Tools", "Workbench", "open"]
