"""What may enter the Rego engine. Hazards are first shown on the bare engine, so that the reason stays visible."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import regopy
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import MisuseError
from workbench.policy.rego import rego_engine, rego_guard


def bare(source: str, value: Any) -> Any:
    """What the engine says of `p` without any guard."""
    interpreter = regopy.Interpreter()
    interpreter.log_level = regopy.LogLevel.NONE
    interpreter.add_module("m", f"package m\ndefault p := false\n{source}\n")
    bundle = interpreter.build(None, ["m/p"])
    assert bundle.ok()
    interpreter.set_input(value)
    return interpreter.query_bundle_entrypoint(bundle, "m/p").results[0].expressions[0]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('p if input.tenant == "acme"', {"tenant": "acme\0evil"}),
        ("p if input.calls < 100", {"calls": 2**64 + 5}),
        ("p if input.calls < 100", {"calls": 2**63}),
    ],
)
def test_the_engine_misreads_what_the_guard_refuses(source: str, value: Any) -> None:
    assert bare(source, value) is True
    with pytest.raises(rego_guard.UnsuitableValueError):
        rego_guard.checked(value)


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


class Text(str):
    """Compares like a string, but is none to the engine's eyes."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        {"a\0": 1},
        {"a": ["\0"]},
        "\ud83d",
        {"\ud83d": 1},
        2**63,
        -(2**63),
        math.nan,
        math.inf,
        -math.inf,
        {1: "a"},
        {None: 1},
        b"bytes",
        pytest.param(object(), id="an object"),
        {"a": {1, 2}},
        Text("acme"),
        1j,
        _nested(40),
        list(range(20_000)),
        {"a": list(range(20_000))},
    ],
    ids=lambda v: repr(v)[:30],
)
def test_what_the_engine_could_misread_is_refused(value: Any) -> None:
    with pytest.raises(rego_guard.UnsuitableValueError):
        rego_guard.checked(value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_json_passes_unchanged(value: Any) -> None:
    if "\\u0000" in repr(value) or "\\x00" in repr(value):
        return
    assert rego_guard.checked(value) is value


# --- lint ----------------------------------------------------------------------------------------


def lint(*sources: str) -> list[str]:
    modules = [rego_guard.read_module(f"m{i}.rego", source) for i, source in enumerate(sources)]
    return rego_guard.lint(modules, regopy.Interpreter().is_builtin)


@pytest.mark.parametrize(
    "deny",
    [
        'net.cidr_contains("10.0.0.0/8", input.ip)',
        "nosuch.function(input.ip)",
        'json.match_schema(input, {"type": "object"})[0]',
    ],
)
def test_the_engine_lets_a_call_of_nothing_pass_in_silence_and_the_lint_does_not(deny: str) -> None:
    source = f"package m\ndefault p := true\np := false if {deny}"
    interpreter = regopy.Interpreter()
    interpreter.log_level = regopy.LogLevel.NONE
    interpreter.add_module("m", source)
    assert interpreter.build(None, ["m/p"]).ok()
    assert "neither a function of this policy nor one that the engine has" in lint(source)[0]


@pytest.mark.parametrize(
    "body",
    [
        "p if nosuch(1)",
        "p if\n\tnosuch(1)",
        "p if {\n\tinput.x\n\tnosuch(1)\n}",
        "p := 1 +\n\tnosuch(1)",
        "p := {x | x := nosuch(1)}",
        "p := [nosuch(1)]",
        'p := {"a": nosuch(1)}',
        "p contains nosuch(1)",
        "p contains\n\tnosuch(1)",
        "p if { some x in nosuch(1) }",
        "p if { some x in\n\tnosuch(1) }",
        "p if { every x in input.xs { nosuch(x) } }",
        "p := 1 if { true } else := nosuch(1)",
        "p if count(nosuch(1)) > 0",
        "p if nosuch (1)",
        "p if nosuch # not a call\n(1)",
        "p if a.b.c(1)",
        "f(x) if x\np if data.m.g(1)",
        "q := 1\np if q(1)",
        "import data.other.f\np if f(1)",
        "import data.other as o\np if o.f(1)",
        'p if data["m"]["f"](1)',
        'p := $"{nosuch(1)}"',
        "p if startswith_(1)",
    ],
)
def test_a_call_of_an_unknown_function_is_found_wherever_it_hides(body: str) -> None:
    assert lint(f"package m\n{body}\n") != []


@pytest.mark.parametrize(
    "body",
    [
        'p if startswith(input.x, "a")',
        "p if regex.match(`^a(b)`, input.x)",
        "f(x) := x + 1\np if f(1) == 2",
        "default f(_) := 1\np if f(1) == 1",
        "p if { f(1) }\nf(x) if { x }",
        'p if input.x == "nosuch(1)"',
        "p if input.x == `nosuch(1)` # nosuch(1)",
        "# nosuch(1)\np := 1",
        "p if (1 + 2) * 3 == 9",
        "p if { not q }\nq if input.x",
        "p if {\n\tnot q\n\tinput.y\n}\nq if input.x",
        "p if { not q; input.y }\nq if input.x",
        'p contains x if { some x in ["a", "b"] }',
        "p if { some i, x in input.xs; x == i }",
        "p := [x | some x in input.xs] if { true } else := []",
        "p[x] := y if { some x, y in input.xs }",
    ],
)
def test_a_sound_module_passes(body: str) -> None:
    assert lint(f"package m\n{body}\n") == []


def test_functions_of_other_modules_are_found_by_their_full_name_or_an_import() -> None:
    library = "package lib.text\nclean(x) := lower(x)\n"
    assert lint("package m\np if data.lib.text.clean(1)", library) == []
    assert lint("package m\nimport data.lib.text\np if text.clean(1)", library) == []
    assert lint("package m\nimport data.lib.text as t\np if t.clean(1)", library) == []
    assert lint("package m\nimport data.lib.text.clean\np if clean(1)", library) == []
    assert lint("package m\nimport data.lib.text as t\np if t.dirty(1)", library) != []


@pytest.mark.parametrize(
    "negated",
    [
        "not data.t[input.x]",
        'not startswith(input.x, "a")',
        "not f(input.x)",
        'not input.x in {"a"}',
        "not input.x",
        "not input.x == 1",
        "not q.a",
        "not q[0]",
        "not q == 1",
        "not unknown",
        "not q\n\t== 4",
        "not q\n\tin {1}",
        "not q\n\t[0]",
        "not q\n\t- 1 == 1",
        "not q\n\t.a",
    ],
)
def test_engines_disagree_on_negated_expressions_so_only_rules_may_be_negated(negated: str) -> None:
    found = lint(f"package m\nq := 1\nf(x) := x\np if {{\n\t{negated}\n}}\n")
    assert any("after `not`" in finding for finding in found)


KEYWORDS = (
    "as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package", "some",
    "true", "with",
)  # fmt: skip
BEFORE = [
    *(f"q := data.a.{word}" for word in KEYWORDS),
    *(f"q := [1, data.a.{word}]" for word in KEYWORDS),
    *(f"q := data.a.{word} # nothing more" for word in ("default", "in")),
    *(f"import future.keywords.{word}" for word in ("if", "in", "every", "contains")),
    "import data.a as b", "import rego.v1", "q := `one\ntwo`", 'q := "one"', "q := 1.5e3", "q := {1, 2}", "q := null",
    "q := true", "q := x if {\n\tx := data.a.default\n} else := data.a.default", "q if input.x == data.a.default",
    "q contains x if some x in data.a.default", "q contains data.a.default", "q[x] := 1 if { some x in [1] }",
    "q.a.b := 1", 'q["a"] := 1', "q.f(x) := x", "f(x) := x + 1", "default q := 1", "default f(_) := 1",
    "q if { every x in input.xs { x == 1 } }", "q := 1;", "q := 1 if false\nelse := 2", "q if\n\tinput.x",
    "q\ncontains 1 if true", "q := [x |\n\tsome x in input.xs\n]",
]  # fmt: skip
RULES = ["r if input.x", "r := input.x", "r = input.x", "r := true if input.x", "r contains 1 if input.x",
         "default r := false", "default\nr := false", "r\n:= true", "r\nif input.x", "r.a if input.x"]  # fmt: skip


@pytest.mark.parametrize("before", BEFORE)
def test_a_rule_is_found_whatever_stands_before_it(before: str) -> None:
    for rule in RULES:
        source = f"package m\n{before}\n{rule}\np if not r\n"
        interpreter = regopy.Interpreter()
        interpreter.log_level = regopy.LogLevel.NONE
        interpreter.add_module("m", source)
        assert interpreter.build(None, ["m/p"]).ok()  # the engine takes it, too
        assert lint(source) == [], source
        assert rego_guard.read_module("m.rego", source).rules - {"q", "f"} == {"r", "p"}, source


def test_rules_with_a_semicolon_between_them_are_two() -> None:
    assert rego_guard.read_module("m.rego", "package m\nr if false; q if false\np if not q").rules == {"r", "q", "p"}


def test_a_function_under_a_path_is_one_of_the_policy() -> None:
    assert lint("package m\na.f(x) := x + 1\np if a.f(1) == 2") == []
    assert lint("package lib\na.f(x) := x + 1", "package m\np if data.lib.a.f(1) == 2") == []
    assert lint("package m\na.f(x) := x + 1\np if a.g(1) == 2") != []


def test_a_negated_name_that_is_no_rule_is_named() -> None:
    [found] = lint("package m\np if not q_may\n")
    assert found.startswith("m0.rego:2: q_may is no rule of this file")


@pytest.mark.parametrize(
    "name", ["time.now_ns()", 'http.send({"url": "http://a"})', "opa.runtime()", 'rand.intn("a", 5)']
)
def test_functions_that_make_a_decision_depend_on_more_than_its_input_are_refused(name: str) -> None:
    assert "may not be used" in lint(f"package m\np := {name}\n")[0]


def test_a_forbidden_function_cannot_be_brought_in_by_mocking() -> None:
    assert lint("package m\np if startswith(1, 2) with startswith as http.send\n") != []


def test_findings_name_file_and_line_and_the_refusal_counts_the_rest() -> None:
    found = lint("package m\n\n" + "p if nosuch(1)\n" * 5)
    assert found[0].startswith("m0.rego:3: nosuch")
    with pytest.raises(MisuseError, match=r"m0\.rego:3.*and 2 more"):
        rego_guard.refuse(found, "here")
    rego_guard.refuse([], "here")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_module(source: str) -> None:
    words = list(rego_guard.tokens(source))
    assert [w.line for w in words] == sorted(w.line for w in words)
    lint(source)


def test_setting_the_default_log_level_twice_would_end_the_process_so_it_is_set_per_interpreter() -> None:
    program = "import regopy; regopy.set_default_log_level('None'); regopy.set_default_log_level('None')"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30).returncode != 0
    assert "set_default_log_level" not in Path(rego_engine.__file__).read_text("utf-8")
