"""How the planner is put together: objects that hold each other, and tables of functions."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

from workbench.agent import planner
from workbench.agent.planner.tools.argument_values import PLAIN_ROLES
from workbench.agent.planner.tools.fill_arguments import MATCHED_ROLES, UNFILLED_ROLES
from workbench.agent.planner.tools.tool_profile import Role

ROOM = Path(planner.__file__).parent
CLASSES = {
    node.name: [ast.unparse(base) for base in node.bases]
    for path in ROOM.rglob("*.py")
    if path.name != "planner_data.py"  # tables of the data files
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.ClassDef)
}


def test_every_role_of_a_parameter_is_filled_in_one_way_or_named_as_unfilled() -> None:
    assert sorted([*PLAIN_ROLES, *MATCHED_ROLES, *UNFILLED_ROLES]) == sorted(get_args(Role))


def test_no_class_of_the_planner_inherits_from_another() -> None:
    assert "QuestionPlan" in CLASSES
    assert {name: bases for name, bases in CLASSES.items() if bases} == {}


def test_no_method_is_looked_up_by_a_name_put_together_at_run_time() -> None:
    calls = [
        f"{path.name}:{node.lineno}"
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr")
    ]
    assert calls == []
