"""knowledge: search and read documents: the help centre, the project's own documentation, and folders you name."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company
from servers.identifiers import Limit, Offset, Page, following
from servers.knowledge.documents import Document
from servers.knowledge.library import Folder, Library, Listed, whole
from servers.labels import READ, labels
from servers.serving import arguments, serve
from servers.tool_server import ToolServer

FOLDERS_VARIABLE = "WORKBENCH_KNOWLEDGE_FOLDERS"
PROJECT = Path(__file__).resolve().parents[2]
MAX_CHARACTERS = 20_000

DocumentId = Annotated[
    str,
    Field(
        description="Id of a document: its source, then its path, e.g. articles/A-0001 or docs/architecture.md.",
        examples=["articles/A-0001"],
        max_length=500,
    ),
]
Source = Annotated[
    str | None,
    Field(description="Only this source, as list_documents names them: articles, docs, or a folder.", max_length=200),
]


class DocumentSummary(BaseModel):
    document_id: DocumentId
    title: str
    source: str
    characters: int
    updated_on: str


class SearchHit(DocumentSummary):
    """A document that fits, with the passage that fits best."""

    heading: str = Field(description="Heading that the passage stands under.")
    snippet: str = Field(
        description="The sentences that fit best, word for word, up to 500 characters: what to quote as the answer."
    )
    offset: int = Field(description="Character where the passage begins; read_document can start there.")
    score: float = Field(description="BM25; higher fits better. Only comparable within one answer.")


class SearchResult(BaseModel):
    total: int = Field(description="How many documents fit at all.")
    hits: list[SearchHit]


class DocumentText(DocumentSummary):
    text: str
    offset: int
    next_offset: int | None = Field(description="`offset` of the next part; null at the end.")


class SourceCount(BaseModel):
    source: str
    documents: int


class DocumentPage(Page):
    sources: list[SourceCount]
    documents: list[DocumentSummary]


KnowledgeContext = Context[Library, Any]

server: ToolServer[Library] = ToolServer(
    "knowledge",
    title="Knowledge",
    description="Search and read documents: help centre, documentation, your folders.",
    instructions="search_documents finds passages by words and quotes them as `snippet`; read_document gives the "
    "whole text of a document_id.",
    version="0.1.0",
    log_level="WARNING",
)


@server.tool(title="Search documents", annotations=READ, meta=labels("knowledge:read"))
def search_documents(
    context: KnowledgeContext,
    query: Annotated[str, Field(description="Words or a question.", min_length=1, max_length=500)],
    source: Source = None,
    limit: Annotated[int, Field(description="Most documents to return.", ge=1, le=50)] = 8,
) -> SearchResult:
    """Find documents by what they say; each with the passage to quote. Good for how-to, policy and why."""
    hits, total = context.request_context.lifespan_context.search(query, limit, source)
    return SearchResult(
        total=total,
        hits=[
            SearchHit(**_summary(h.document), heading=h.heading, snippet=h.snippet, offset=h.offset, score=h.score)
            for h in hits
        ],
    )


@server.tool(title="Read a document", annotations=READ, meta=labels("knowledge:read"))
def read_document(
    context: KnowledgeContext,
    document_id: DocumentId,
    offset: Annotated[int, Field(description="Character to begin at.", ge=0)] = 0,
    limit: Annotated[int, Field(description="Most characters to return.", ge=1, le=MAX_CHARACTERS)] = (MAX_CHARACTERS),
) -> DocumentText:
    """The text of one document, in parts."""
    library = context.request_context.lifespan_context
    found = library.read(document_id)
    if found is None:
        near = library.similar(document_id)
        hint = f"Did you mean {', '.join(near)}?" if near else "Search with knowledge.search_documents."
        raise ToolError(f"No document {document_id!r}. {hint}")
    listed, text = found
    part = text[offset : offset + limit]
    return DocumentText(
        **_summary(listed),
        text=part,
        offset=offset,
        next_offset=following(len(text), offset, len(part)),
    )


@server.tool(title="List documents", annotations=READ, meta=labels("knowledge:read"))
def list_documents(
    context: KnowledgeContext, source: Source = None, limit: Limit = 50, offset: Offset = 0
) -> DocumentPage:
    """The documents of all sources or of one, by id."""
    library = context.request_context.lifespan_context
    listed = library.documents(source)
    part = listed[offset : offset + limit]
    return DocumentPage(
        total=len(listed),
        next_offset=following(len(listed), offset, len(part)),
        sources=[SourceCount(source=s, documents=n) for s, n in library.sources().items()],
        documents=[DocumentSummary(**_summary(d)) for d in part],
    )


@server.resource("knowledge://{source}/{name}", title="A document", mime_type="text/markdown")
def document_resource(context: KnowledgeContext, source: str, name: str) -> str:
    """The text of a document at the top of its source, e.g. knowledge://articles/A-0001."""
    found = context.request_context.lifespan_context.read(f"{source}/{name}")
    if found is None:
        raise ResourceNotFoundError(f"No document {source}/{name}.")
    return found[1]


@server.prompt(title="Answer from the documents")
def answer_from_documents(question: Annotated[str, Field(description="The question.")]) -> str:
    """Asks for an answer that rests on documents alone."""
    return (
        f"{question}\n\nSearch the documents, read those that fit, and answer from them alone. Name the "
        "document_id after each statement. Say so if they do not hold the answer."
    )


def build(library: Library) -> ToolServer[Library]:
    """The server over one library."""
    return server.with_context(library)


def default_library(folders: list[Path] | None = None) -> Library:
    """Help centre, the project's README and docs, and the folders given.

    Args:
        folders: further folders; the last part of each path becomes its source.

    Raises:
        NotADirectoryError: one of them is no folder.
    """
    sources = [Folder("docs", PROJECT, only="README.md"), Folder("docs", PROJECT / "docs")]
    used = {"docs", "articles"}
    for folder in folders or []:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is no folder. Give --folder a folder of documents.")
        name, number = folder.resolve().name or "root", 2
        while name in used:
            name, number = f"{folder.resolve().name}-{number}", number + 1
        used.add(name)
        sources.append(Folder(name, folder.resolve()))
    return Library(sources, given=_articles)


def _articles() -> list[tuple[str, Document, str]]:
    rows = Company("articles").rows("select * from articles order by article_id")
    return [
        (
            f"articles/{row['article_id']}",
            whole(row["title"], f"# {row['title']}\n\n{row['body']}\n"),
            row["updated_on"].isoformat(),
        )
        for row in rows
    ]


def _summary(listed: Listed) -> dict[str, Any]:
    return {
        "document_id": listed.document_id,
        "title": listed.title,
        "source": listed.source,
        "characters": listed.characters,
        "updated_on": listed.updated,
    }


def main() -> None:
    """Serve the help centre, the project's documentation and the folders named by `--folder`."""
    parser = arguments("Search and read documents.")
    parser.add_argument("--folder", action="append", default=[], help="a further folder; may be given several times")
    given = parser.parse_args()
    named = [f for f in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if f]
    try:
        library = default_library([Path(f).expanduser() for f in [*given.folder, *named]])
    except NotADirectoryError as e:
        parser.error(str(e))
    threading.Thread(target=library.sources, name="first index", daemon=True).start()
    serve(build(library), given)


if __name__ == "__main__":
    main()
