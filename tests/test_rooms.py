"""Which package may import which, as the architecture page says; and that importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(__file__).parents[1] / "workbench"

DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"


def table() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The two tables of the architecture page: what each module of the ground and each package may import."""
    ground: dict[str, set[str]] = {}
    packages: dict[str, set[str]] = {}
    rows = ground
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("| package |"):
            rows = packages
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if (line.startswith("| `") and len(cells) == 3) or (line.startswith("| `") and line.endswith("| |")):
            name = cells[0].strip("`/ ")
            if name.isidentifier() and "import" not in name:
                rows[name] = {part for part in cells[-1].strip(" |").split(", ") if part.isidentifier()} - {"all"}
                if cells[-1].strip() == "all":
                    rows[name] = {"all"}
    return ground, packages


GROUND, PACKAGES = table()
LOWER = {
    **GROUND,
    **{name: set(GROUND) | ({*PACKAGES} if lower == {"all"} else lower) for name, lower in PACKAGES.items()},
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """The rooms that a file names in its imports, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "workbench" else [f"workbench.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        found |= {room_of(n) for n in names if n.split(".")[0] == "workbench"}
    return found - {""}


@pytest.mark.parametrize("room", LOWER)
def test_imports_run_downward_only(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for file in files:
        wrong = imported(file) & set(LOWER) - LOWER[room] - {room}
        assert not wrong, f"{file.relative_to(PACKAGE)} reaches {', '.join(sorted(wrong))}"


def test_the_table_names_every_module_and_package_and_has_no_circle() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - set(LOWER) == {"__init__", "__main__"}
    assert set(LOWER) <= found
    assert {"events", "config"} <= LOWER["secrets"]
    assert circles({name: lower for name, lower in LOWER.items() if name != "cli"}) == []


def test_servers_know_nothing_of_the_workbench() -> None:
    for file in (PACKAGE.parent / "servers").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not {n for n in names if n.split(".")[0] == "workbench"}, file


def test_dashboards_and_notebooks_use_only_the_public_names() -> None:
    for folder in ("dashboards", "notebooks"):
        for file in (PACKAGE.parent / folder).rglob("*.py"):
            rooms = imported(file) - set(workbench.__all__)
            assert not rooms, f"{file} reaches {', '.join(sorted(rooms))}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = (
        "duckdb",
        "pandas",
        "pyarrow",
        "streamlit",
        "openai",
        "anthropic",
        "google.genai",
        "mcp",
        "aiohttp",
        "fastapi",
    )
    code = f"import workbench, sys; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_help_text_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['workbench','--help']\n"
        "from workbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('duckdb', 'pandas', 'mcp', 'aiohttp', 'rich', 'workbench.client')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in found.stdout
    assert found.stderr.strip() == "[]"


# --- files: circles, names, and how many stand on one floor --------------------------------------------------------

DOORS = ("cli", "api")
"""Where a module may have the name of what it is the door to: `cli/policy` beside the room `policy`."""

MAX_FILES = 25
"""Files of one package, `__init__` among them; what outgrows this gets packages of its own."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Which modules each module imports, anywhere in its text; not what only type checkers read."""
    known = modules()
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in typing:
                continue
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found[name].add(whole if whole in known else node.module)
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
        found[name] = {other for other in found[name] if other in known and other != name}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """What stands in a circle: whatever is left when all that imports nothing, or is imported by nothing, is gone."""
    left = {name: set(others) & set(graph) for name, others in graph.items()}
    while True:
        imported_ones = set().union(*left.values()) if left else set()
        gone = {name for name, others in left.items() if not others or name not in imported_ones}
        if not gone:
            return [sorted(left)] if left else []
        left = {name: others - gone for name, others in left.items() if name not in gone}


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = dict(imports())
    graph.pop("workbench")  # hands out names of the façade when they are asked for; only doors import it
    below = {name for name, others in imports().items() if "workbench" in others}
    assert {name.split(".")[1] for name in below} <= {"api", "cli", "serve"}
    assert circles(graph) == []


def test_packages_inside_of_a_room_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, others in imports().items():
        for other in others:
            ours, theirs = name.split(".")[:-1], other.split(".")[:-1]
            inner = len(ours) > 2 and len(theirs) > 2 and ours[:2] == theirs[:2] and ours != theirs
            # The files right in a package stand above and below its sub-packages at once; files have their own test.
            if inner and ours[:-1] == theirs[:-1]:
                graph.setdefault(".".join(ours), set()).add(".".join(theirs))
                graph.setdefault(".".join(theirs), set())
    assert circles(graph) == []


def test_no_two_modules_have_one_name() -> None:
    named: dict[str, list[str]] = {}
    for name, path in modules().items():
        if path.name not in ("__init__.py", "__main__.py") and name.split(".")[1] not in DOORS:
            named.setdefault(name.rpartition(".")[2], []).append(name)
    assert {name: found for name, found in named.items() if len(found) > 1} == {}


@cache
def classes() -> dict[str, list[tuple[str, list[str]]]]:
    """By the name of a class: the modules that define it, and the names of its bases."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                found.setdefault(node.name, []).append((module, bases))
    return found


def test_no_two_classes_have_one_name() -> None:
    assert {name: places for name, places in classes().items() if len(places) > 1} == {}


def is_exception(name: str) -> bool:
    built_in = getattr(builtins, name, None)
    if isinstance(built_in, type):
        return issubclass(built_in, BaseException)
    return any(is_exception(base) for _, bases in classes().get(name, ()) for base in bases)


def test_names_of_exceptions_end_in_error() -> None:
    assert [name for name in classes() if is_exception(name) and not name.endswith("Error")] == []
    assert is_exception("MisuseError")


def test_no_package_has_too_many_files() -> None:
    crowded = {
        str(folder.relative_to(PACKAGE)): number
        for folder in {path.parent for path in modules().values()}
        if (number := len(list(folder.glob("*.py")))) > MAX_FILES
    }
    assert crowded == {}
