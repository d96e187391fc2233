"""The public names of the package: complete, lazy, and the very classes that the rooms use."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import workbench


def test_every_public_name_is_there_and_is_the_class_of_its_room() -> None:
    assert sorted(workbench.__all__) == sorted(set(workbench.__all__))
    assert set(workbench.__all__) == {*workbench._MODULES, "__version__"}
    assert set(workbench.__all__) <= set(dir(workbench))
    for name, module in workbench._MODULES.items():
        assert getattr(workbench, name) is getattr(import_module(f"workbench.{module}"), name)


def test_type_checkers_see_every_public_name_in_the_module_where_it_is_found() -> None:
    tree = ast.parse(Path(workbench.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert seen == {name: f"workbench.{module}" for name, module in workbench._MODULES.items()}


@pytest.mark.parametrize("owner", ["Workbench", "Run", "Result", "PendingCall"])
def test_every_type_that_the_facade_hands_out_has_a_public_name(owner: str) -> None:
    plain = {"Any", "SqlEngine", "Iterator", "JSON", "None", "Path", "Reader"}  # engines are for the command line
    for name, member in inspect.getmembers(getattr(workbench, owner)):
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        given = set(re.findall(r"\b[A-Z]\w*", str(function.__annotations__["return"])))
        assert given <= plain | set(workbench.__all__), f"{owner}.{name} hands out {given}"


def test_every_event_of_a_run_has_a_public_name() -> None:
    assert {event.__name__ for event in get_args(workbench.AnyRunEvent)} <= set(workbench.__all__)


@pytest.mark.parametrize(("old", "new"), workbench._RENAMED.items())
def test_a_name_of_the_release_before_is_understood_with_a_warning(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"workbench.{new}"):
        assert getattr(workbench, old) is getattr(workbench, new)
