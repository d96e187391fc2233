"""files: one folder, read-only, that cannot be left."""

from __future__ import annotations

import base64
import fnmatch
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.files.tree import Entry, Refused, Tree, media_type
from servers.labels import READ, labels
from servers.serving import arguments, serve
from servers.tool_server import ToolServer

ROOT_VARIABLE = "WORKBENCH_FILES_ROOT"
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "files"

MAX_BYTES = 64 * 1024
"""Bytes of one read."""
MAX_SEARCHED_FILES = 5_000
MAX_SEARCHED_BYTES = 1 << 20
SEARCH_TIMEOUT_S = 5.0

T = TypeVar("T")
FilePath = Annotated[
    str,
    Field(description="Path within the folder, with `/`.", examples=["policies/travel.md"], max_length=1024),
]
FolderPath = Annotated[str, Field(description="Directory within the folder; `.` is the top.", max_length=1024)]


class FileInfo(BaseModel):
    path: str = Field(description="Path within the folder, to use in the other tools.")
    kind: Literal["file", "directory", "link", "other"] = Field(description="Only files and directories are opened.")
    size: int
    modified_at: datetime
    media_type: str | None


class Directory(BaseModel):
    path: str
    entries: list[FileInfo]
    truncated: bool


class FileContent(BaseModel):
    path: str
    size: int
    encoding: Literal["text", "base64"]
    content: str
    offset: int
    next_offset: int | None = Field(description="`offset` of the next part; null at the end.")


class Match(BaseModel):
    path: str
    line: int | None = Field(description="Number of the line, or null when the name fits.")
    text: str


class Matches(BaseModel):
    matches: list[Match]
    searched: int = Field(description="How many files were looked at.")
    complete: bool = Field(description="False when a cap of time, files or matches ended the search.")


FilesContext = Context[Tree, Any]

server: ToolServer[Tree] = ToolServer(
    "files",
    title="Files",
    description="List, read and search the files of one folder.",
    instructions="Paths are relative to the folder. Start with list_directory or search_files.",
    version="0.1.0",
    log_level="WARNING",
)


@server.tool(title="List a directory", annotations=READ, meta=labels("files:read"))
def list_directory(
    context: FilesContext,
    path: FolderPath = ".",
    limit: Annotated[int, Field(description="Most entries to return.", ge=1, le=1000)] = 200,
) -> Directory:
    """Files and directories of a directory, with size and time of change."""
    tree = context.request_context.lifespan_context
    entries = _asked(lambda: tree.entries(path))
    return Directory(path=path, entries=[_info(e) for e in entries[:limit]], truncated=len(entries) > limit)


@server.tool(title="Read a file", annotations=READ, meta=labels("files:read"))
def read_file(
    context: FilesContext,
    path: FilePath,
    offset: Annotated[int, Field(description="Byte to begin at; take next_offset of the part before.", ge=0)] = 0,
    limit: Annotated[int, Field(description="Most bytes to return.", ge=1, le=MAX_BYTES)] = MAX_BYTES,
    encoding: Annotated[Literal["text", "base64"], Field(description="base64 for files that are no text.")] = "text",
) -> FileContent:
    """The content of a file, in parts of at most 64 KiB."""
    tree = context.request_context.lifespan_context
    raw, size = _asked(lambda: tree.read(path, offset, limit))
    if encoding == "base64":
        content = base64.b64encode(raw).decode()
    else:
        if b"\0" in raw[:8192]:
            raise ToolError(f"{path} is no text but {media_type(path)}, {size:,} bytes. Ask for encoding base64.")
        raw = _whole_characters(raw) if offset + len(raw) < size else raw
        content = raw.decode("utf-8", errors="replace")
    after = offset + len(raw)
    return FileContent(
        path=path,
        size=size,
        encoding=encoding,
        content=content,
        offset=offset,
        next_offset=after if raw and after < size else None,
    )


@server.tool(title="About a file", annotations=READ, meta=labels("files:read"))
def file_info(context: FilesContext, path: FilePath) -> FileInfo:
    """Kind, size, media type and time of change of a file or directory."""
    tree = context.request_context.lifespan_context
    return _info(_asked(lambda: tree.entry(path)))


@server.tool(title="Search files", annotations=READ, meta=labels("files:read"))
def search_files(
    context: FilesContext,
    query: Annotated[str, Field(description="Text to find in names and lines; case is ignored.", max_length=200)] = "",
    name: Annotated[str, Field(description="Pattern of the file's name, e.g. *.md", max_length=200)] = "*",
    path: FolderPath = ".",
    limit: Annotated[int, Field(description="Most matches to return.", ge=1, le=200)] = 50,
) -> Matches:
    """Find files by name, and lines of text files by what they contain."""
    tree = context.request_context.lifespan_context
    return _asked(lambda: _search(tree, query.casefold(), name, path, limit))


def build(tree: Tree) -> ToolServer[Tree]:
    """The server over one tree."""
    return server.with_context(tree)


def _search(tree: Tree, wanted: str, pattern: str, path: str, limit: int) -> Matches:
    matches: list[Match] = []
    searched = 0
    until = time.monotonic() + SEARCH_TIMEOUT_S
    for entry in tree.walk(path, MAX_SEARCHED_FILES):
        if time.monotonic() > until or len(matches) >= limit:
            return Matches(matches=matches[:limit], searched=searched, complete=False)
        base = entry.path.rsplit("/", 1)[-1]
        if not fnmatch.fnmatchcase(base.casefold(), pattern.casefold()):
            continue
        searched += 1
        if wanted in base.casefold():
            matches.append(Match(path=entry.path, line=None, text=base))
        if wanted and entry.size <= MAX_SEARCHED_BYTES:
            matches += _lines(tree, entry, wanted, limit - len(matches))
    return Matches(matches=matches[:limit], searched=searched, complete=searched < MAX_SEARCHED_FILES)


def _lines(tree: Tree, entry: Entry, wanted: str, most: int) -> list[Match]:
    try:
        raw, _ = tree.read(entry.path, 0, MAX_SEARCHED_BYTES)
    except Refused:
        return []  # unreadable or replaced since it was listed
    if b"\0" in raw[:8192]:
        return []
    found: list[Match] = []
    for number, line in enumerate(raw.decode("utf-8", errors="replace").splitlines(), 1):
        if len(found) >= most:
            break
        if wanted in line.casefold():
            found.append(Match(path=entry.path, line=number, text=line.strip()[:300]))
    return found


def _whole_characters(raw: bytes) -> bytes:
    """`raw` without the first bytes of a character that continues in the next part."""
    for back in range(1, min(4, len(raw)) + 1):
        lead = raw[-back]
        if lead & 0xC0 != 0x80:  # the first byte of a character
            length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
            return raw[:-back] if back < length and len(raw) > back else raw
    return raw


def _asked(question: Callable[[], T]) -> T:
    try:
        return question()
    except Refused as e:
        raise ToolError(str(e)) from e


def _info(entry: Entry) -> FileInfo:
    return FileInfo(
        path=entry.path,
        kind=entry.kind,  # type: ignore[arg-type]
        size=entry.size,
        modified_at=entry.modified_at,
        media_type=media_type(entry.path) if entry.kind == "file" else None,
    )


def main() -> None:
    """Serve the folder named by `--root`, the environment, or the sample company's shared folder."""
    parser = arguments("Serve one folder, read-only.")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE) or str(SAMPLE), help="the folder to serve")
    parser.add_argument("--hidden", action="store_true", help="serve names that begin with a dot as well")
    given = parser.parse_args()
    root = Path(given.root).expanduser()
    if not root.is_dir():
        parser.error(f"{root} is no folder")
    serve(build(Tree(root, hidden=given.hidden)), given, health=lambda: {"root": str(root.resolve())})


if __name__ == "__main__":
    main()
