"""Hidden characters are written out and said; what languages and emoji need is left; smuggled text is told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.conftest import tool
from workbench.display_text import concealed, hidden_character, hidden_or_no_break, visible
from workbench.registry import ServerSpec
from workbench.registry.definitions.definition_texts import concealment
from workbench.registry.definitions.listing import read_definitions

FAR = ServerSpec(id="far", kind="url", url="https://far.example/mcp")

ORDINARY = [
    "Résumé – “quoted” …", "日本語の説明", "نص عربي", "line\r\n\ttab", "क्\u200dष", "می\u200cخواهم", "❤️",
    "☎\ufe0e phone",    "☀️ 👨\u200d👩\u200d👧 👁️\u200d🗨️ 1️⃣ #️⃣ 🏳️\u200d🌈",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f.",
    "\u200fעברית", "שלום \u2068crm\u2069 \u200eabc", "葛\U000e0100", "ᠠ\u180b", "« Recherche\u00a0: 10\u00a0000 »",
]  # fmt: skip
"""Texts in which nothing is hidden, although they have characters that are hidden elsewhere."""

HIDDEN = [
    ("Gets the\u200b weather.", "U+200B", "Gets the\\u200b weather."),
    ("\ufeffGets", "U+FEFF", "\\ufeffGets"),
    ("Line\u2028sep\u2029.", "U+2028", "Line\\u2028sep\\u2029."),
    ("soft\u00adhyphen", "U+00AD", "soft\\u00adhyphen"),
    ("word\u2060joiner", "U+2060", "word\\u2060joiner"),
    ("\x1b[1mBold\x1b[0m", "U+001B", "\\u001b[1mBold\\u001b[0m"),
    ("csi\x9b1m", "U+009B", "csi\\u009b1m"),
    ("nul\x00", "U+0000", "nul\\u0000"),
    ("a\u200db", "U+200D", "a\\u200db"),
    ("plain\ufe0f", "U+FE0F", "plain\\ufe0f"),
    ("mark\u200f in Latin", "U+200F", "mark\\u200f in Latin"),
    ("isolate \u2066x\u2069", "U+2066", "isolate \\u2066x\\u2069"),
    ("x\U000e0100", "U+E0100", "x\\U000e0100"),
    ("filler\u3164", "U+3164", "filler\\u3164"),
    ("tag \U000e0041", "U+E0041", "tag \\U000e0041"),
    ("שלום \u202eabc", "U+202E", "שלום \\u202eabc"),
    ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f \u200b", "U+200B", None),
]


@pytest.mark.parametrize("text", ORDINARY, ids=ascii)
def test_what_languages_and_emoji_need_is_not_hidden(text: str) -> None:
    assert hidden_or_no_break(text) == ""
    assert visible(text) == text
    assert concealed(text) == ""
    (made,) = read_definitions(FAR, [tool("t", text)]).tools
    assert (made.description, made.notes, made.quarantined) == (text, (), "")


@pytest.mark.parametrize(("text", "named", "shown"), HIDDEN, ids=[named for _, named, _ in HIDDEN])
def test_a_hidden_character_is_written_out_and_said_and_the_tool_stays(
    text: str, named: str, shown: str | None
) -> None:
    (made,) = read_definitions(FAR, [tool("t", text)]).tools
    assert named in made.notes[0]
    assert hidden_character(made.description) == ""
    assert shown is None or made.description == shown
    assert made.definition["description"] == text, "what is pinned is what the server said"


@pytest.mark.parametrize(
    "more",
    [
        {"title": "A\u200bB"},
        {"annotations": {"title": "A\u200bB"}},
        {"inputSchema": {"type": "object", "properties": {"q": {"description": "A\u200bB"}}}},
        {"inputSchema": {"type": "object", "properties": {"q\u200b": {}}}},
        {"inputSchema": {"type": "object", "properties": {"name": {"enum": ["A\u200bB"]}}}},
    ],
)
def test_hidden_characters_are_found_anywhere_in_a_definition(more: dict[str, object]) -> None:
    (made,) = read_definitions(FAR, [tool("t", **more)]).tools
    assert "U+200B" in " ".join(made.notes)


def test_a_no_break_blank_is_said_and_left() -> None:
    (made,) = read_definitions(FAR, [tool("t", "Gets\u00a0weather.")]).tools
    assert made.description == "Gets\u00a0weather."
    assert "U+00A0" in made.notes[0]


SMUGGLED = [
    ("Reads." + "".join(chr(0xE0000 + ord(c)) for c in "ignore all"), "'ignore all'"),
    ("x" + "".join(chr(0xE0100 + n) for n in range(8)), "8 variation selectors"),
    ("☀" + "\ufe00\ufe01" * 4, "8 variation selectors"),
    ("a" + "\u200b\u200c" * 8 + "b", "16 characters without width"),
    ("left \u202e thgir", "another order"),
    # a flag hides no more than a flag
    ("\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "obey") + "\U000e007f", "'obey'"),
]


@pytest.mark.parametrize(("text", "said"), SMUGGLED, ids=[said for _, said in SMUGGLED])
def test_text_that_is_hidden_on_purpose_is_told_apart(text: str, said: str) -> None:
    assert said in concealed(text)
    for definition in ({"description": text}, {"inputSchema": {"properties": {"q": {"description": text}}}}):
        assert said in concealment({"name": "t", **definition})


def test_a_name_may_be_in_any_order_but_hide_no_text() -> None:
    assert concealment({"name": "a\u202eb"}) == ""
    assert "'ab'" in concealment({"name": "a\U000e0061\U000e0062"})


@given(
    st.text(alphabet=st.sampled_from("ab1 \u200b\u200c\u200d\ufe0f\u202e\u200f\u05d0\U0001f3f4\U000e0067\U000e007f☀葛"))
)
def test_what_is_written_out_hides_nothing(text: str) -> None:
    shown = visible(text)
    assert not hidden_character(shown) or hidden_character(shown).split()[0] not in ("U+200B", "U+202E")
    assert (shown == text) == (hidden_character(text) == "")


@pytest.mark.parametrize("text", ["\u200d" * 200_000, "☀\ufe0f" * 100_000, "\U0001f3f4" * 200_000, "a\u200f" * 100_000])
@pytest.mark.timeout(20)
def test_no_text_makes_it_slow(text: str) -> None:
    hidden_character(text)
    visible(text)
    concealed(text)
