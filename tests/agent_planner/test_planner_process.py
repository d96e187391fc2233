"""What the planner leaves of the process that it runs in."""

from __future__ import annotations

import json
import subprocess
import sys

ASK = """
import json, logging, sys
from workbench.agent.planner import Planner
from workbench.agent.provider import ToolSpec, UserMessage
from workbench.events import Tool

def root():
    logger = logging.getLogger()
    return [logger.level, [repr(h) for h in logger.handlers], [repr(f) for f in logger.filters]]

before = root()
schema = {"type": "object", "properties": {"status": {"type": "string", "enum": ["open", "paid"]}}}
tool = Tool(server="payments", name="list_invoices", description="Bills of customers.", input_schema=schema,
            annotations={"readOnlyHint": True})
parts = Planner().decide([UserMessage(text="Which invoices are open?")],
                         [ToolSpec(name="payments_list_invoices", description="", schema=schema, tool=tool)])
print(json.dumps({
    "asked": [p.name for p in parts if hasattr(p, "arguments")],
    "before": before,
    "after": root(),
    "libraries": sorted(m for m in sys.modules if m.split(".")[0] == "wordllama"),
    "table": sys.modules["workbench.embeddings"]._load.cache_info().currsize,
}))
"""


def test_a_question_to_the_planner_leaves_logging_alone_and_reads_the_embeddings_directly() -> None:
    """In a process of its own, since whatever configures logging does so only once."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=50)
    found = json.loads(done.stdout)
    assert found["asked"] == ["payments_list_invoices"]
    assert found["after"] == found["before"]
    assert found["libraries"] == []
    assert found["table"] == 1
