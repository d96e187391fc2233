"""The knowledge server: the best passage comes first, and the index follows the files."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.knowledge.documents import kind_of, parse
from servers.knowledge.library import Folder, Library
from servers.knowledge.passages import END, MARK, MAX_PASSAGE_LENGTH, passage
from servers.knowledge.server import build, default_library

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[tuple[Library, Path]]:
    notes = tmp_path / "notes"
    notes.mkdir()
    library = default_library([notes])
    yield library, notes
    library.close()


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Why did my subscription renewal fail?", "What happens when a subscription renewal fails"),
        ("How do I get my money back?", "Refunds"),
        ("calibrating a flow meter", "Calibrate the Flow meter"),
        ("the export is limited to ten thousand rows: 10,000", "Exports and the limit of 10,000 rows"),
        ("verify webhook signatures", "Verify the signature of a webhook"),
        ("API answers 429", "Rate limits of the API"),
        ("what was the outage in March 2026", "The outage of 17 March 2026"),
        ("lost phone, two-factor recovery", "Two-factor sign-in"),
    ],
)
async def test_a_question_finds_its_article(ask: Ask, library: tuple[Library, Path], question: str, title: str) -> None:
    # What the project's own pages hold changes with every page; the help centre is what these questions are to.
    found = await ask(build(library[0]), "search_documents", query=question, limit=3, source="articles")
    assert title in [hit["title"] for hit in found["hits"]]
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)


async def test_a_hit_leads_to_the_text_it_shows(ask: Ask, library: tuple[Library, Path]) -> None:
    lib, notes = library
    filler = "\n\n".join(f"## Part {n}\n\nNothing of interest stands here, number {n}." for n in range(80))
    (notes / "long.md").write_text(f"# A long document\n\n{filler}\n\n## Narwhals\n\nThe narwhal's tusk is a tooth.\n")
    server = build(lib)
    hit = (await ask(server, "search_documents", query="tusk of narwhals"))["hits"][0]
    assert (hit["document_id"], hit["heading"]) == ("notes/long.md", "Narwhals")
    assert "tusk" in hit["snippet"]
    text = await ask(server, "read_document", document_id=hit["document_id"], offset=hit["offset"], limit=60)
    assert "tusk" in text["text"]


async def test_a_hit_quotes_the_sentences_that_answer(ask: Ask, library: tuple[Library, Path]) -> None:
    server = build(library[0])
    hits = (await ask(server, "search_documents", query="Why did my subscription renewal fail?"))["hits"]
    assert "Frequent reasons are an expired card, insufficient funds" in hits[0]["snippet"]
    for hit in hits:
        assert 0 < len(hit["snippet"]) <= MAX_PASSAGE_LENGTH
        text, answer = "", {"text": "…"}
        while isinstance(answer, dict) and answer["text"]:  # a long document comes in pages
            answer = await ask(server, "read_document", document_id=hit["document_id"], offset=len(text))
            text += answer["text"] if isinstance(answer, dict) else ""
        assert hit["snippet"].strip("…") in text, "a quotation is word for word"


def test_a_passage_holds_most_of_the_words_and_what_stands_around_them() -> None:
    filler = "Nothing of it stands here, and nothing follows. " * 20
    text = f"# A {MARK}tusk{END}\n\n{filler}The {MARK}narwhal{END} has a {MARK}tusk{END}. It is a tooth. {filler}"
    quoted = passage(text)
    assert "The narwhal has a tusk. It is a tooth." in quoted
    assert 200 < len(quoted) <= MAX_PASSAGE_LENGTH
    assert "#" not in quoted
    long = f"{'word ' * 300}{MARK}okapi{END}{' word' * 300}"
    assert "okapi" in passage(long)
    assert passage("# only a heading") == passage("") == ""
    assert passage("# Title\n\nJust a body.") == "Just a body."


@given(
    words=st.lists(st.sampled_from(["a", "bb.", "ccc!", "\n", "# d", f"{MARK}hit{END}", f"{MARK}x{END}?", "e" * 90])),
    most=st.integers(40, 300),
)
def test_a_passage_is_never_longer_than_allowed_and_always_of_the_text(words: list[str], most: int) -> None:
    text = " ".join(words)
    quoted = passage(text, most)
    assert len(quoted) <= most
    assert quoted.strip("…").strip() in text.replace(MARK, "").replace(END, "")


async def test_files_that_change_come_and_go_are_noticed(library: tuple[Library, Path]) -> None:
    lib, notes = library
    assert lib.search("quokka", 5) == ([], 0)
    (notes / "a.txt").write_text("A quokka lives on an island.")
    assert [h.document.document_id for h in lib.search("quokkas", 5)[0]] == ["notes/a.txt"]
    (notes / "a.txt").write_text("A wombat digs at night, and long.")
    assert lib.search("quokka", 5)[1] == 0
    assert lib.search("wombats digging", 5)[1] == 1
    (notes / "a.txt").unlink()
    assert lib.search("wombat", 5)[1] == 0
    assert lib.read("notes/a.txt") is None


async def test_only_changed_files_are_read_again(
    library: tuple[Library, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lib, notes = library
    (notes / "a.md").write_text("# One\n\nquokka")
    (notes / "b.md").write_text("# Two\n\nquokka")
    lib.search("quokka", 5)
    read: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (read.append(self.name), original(self))[1])
    (notes / "b.md").write_text("# Two\n\nquokka and wombat")
    assert lib.search("quokka", 5)[1] == 2
    assert read == ["b.md"]


async def test_links_hidden_and_unreadable_files_are_left_out(library: tuple[Library, Path], tmp_path: Path) -> None:
    lib, notes = library
    (tmp_path / "secret.txt").write_text("zebra")
    (notes / "link.txt").symlink_to(tmp_path / "secret.txt")
    (notes / "linked").symlink_to(tmp_path)
    (notes / ".hidden.txt").write_text("zebra")
    (notes / "picture.png").write_bytes(b"zebra")
    os.mkfifo(notes / "pipe.txt")
    assert lib.search("zebra", 5)[1] == 0
    assert lib.documents("notes") == []


async def test_the_projects_own_documents_are_there(ask: Ask, library: tuple[Library, Path]) -> None:
    server = build(library[0])
    listed = await ask(server, "list_documents", source="docs", limit=100)
    assert "docs/README.md" in [d["document_id"] for d in listed["documents"]]
    assert {s["source"] for s in listed["sources"]} >= {"articles", "docs"}
    assert "Did you mean articles/A-0001?" in await ask(server, "read_document", document_id="A-0001")
    assert "search_documents" in await ask(server, "read_document", document_id="zzz")


async def test_articles_are_resources(library: tuple[Library, Path]) -> None:
    from mcp import Client, MCPError

    async with Client(build(library[0])) as client:
        read = await client.read_resource("knowledge://articles/A-0001")
        assert "renewal" in read.contents[0].text
        with pytest.raises(MCPError, match="A-9999"):
            await client.read_resource("knowledge://articles/A-9999")


def test_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for parent in ("x", "y"):
        (tmp_path / parent / "docs").mkdir(parents=True)
        (tmp_path / parent / "docs" / "n.md").write_text(f"# {parent}\n\nokapi {parent}")
    library = default_library([tmp_path / "x" / "docs", tmp_path / "y" / "docs"])
    assert {h.document.document_id for h in library.search("okapi", 5)[0]} == {"docs-2/n.md", "docs-3/n.md"}
    library.close()
    with pytest.raises(NotADirectoryError, match="--folder"):
        default_library([tmp_path / "nowhere"])


def test_markdown_headings_make_sections_and_code_makes_none() -> None:
    document = parse(b"# Title\n\nintro\n\n```\n# no heading\n```\n\n## Second ##\n\nbody\n", "markdown", "x.md")
    assert document.title == "Title"
    assert [s.heading for s in document.sections] == ["Title", "Second"]
    assert "no heading" in document.sections[0].body


def test_restructured_text_and_plain_text_and_html_are_read() -> None:
    rst = parse(b"Big Title\n=========\n\nIntro.\n\nPart\n----\n\nText.\n", "rst", "x.rst")
    assert rst.title == "Big Title"
    assert [s.heading for s in rst.sections] == ["Big Title", "Part"]
    assert parse(b"\xef\xbb\xbfjust text\r\nmore", "text", "x.txt").text == "just text\nmore"
    page = b"""<html><head><title>A &amp; B</title><style>p {}</style><script>alert("no")</script></head>
        <body><h1>Top</h1><p>One &lt;two&gt;</p><h2>Next</h2><ul><li>three</li></ul></body></html>"""
    html = parse(page, "html", "x.html")
    assert html.title == "A & B"
    assert [s.heading for s in html.sections] == ["Top", "Next"]
    assert "One <two>" in html.text
    assert "alert" not in html.text
    assert kind_of("a.b.MD") == "markdown"
    assert kind_of(".md") == kind_of("x.pdf") == kind_of("md") == ""


@given(raw=st.binary(max_size=400), kind=st.sampled_from(["markdown", "rst", "html", "text"]))
def test_whatever_bytes_a_file_holds_it_becomes_a_document(raw: bytes, kind: str) -> None:
    document = parse(raw, kind, "name")
    assert document.title
    for section in document.sections:
        assert document.text[section.offset :].strip().startswith(section.body[:20])


LIBRARY = Library([])


@given(query=st.text(max_size=50))
def test_whatever_is_asked_the_index_answers(query: str) -> None:
    hits, total = LIBRARY.search(query, 5)
    assert hits == []
    assert total == 0


def test_a_single_file_can_be_a_source(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Read me\n\naxolotl")
    (tmp_path / "other.md").write_text("axolotl")
    library = Library([Folder("project", tmp_path, only="README.md")])
    assert [d.document_id for d in library.documents()] == ["project/README.md"]
    library.close()
