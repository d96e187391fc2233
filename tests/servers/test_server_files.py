"""The files server: what is in the folder can be read, and nothing else can, by either way of opening."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from servers.files.server import build
from servers.files.tree import Refused, Tree

Ask = Callable[..., Awaitable[Any]]

SECRET = "outside-and-secret"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve, with everything that could lead out of it; beside it a folder whose name begins alike."""
    base = tmp_path_factory.mktemp("files")
    root, evil = base / "root", base / "root-evil"
    for folder in (root / "a" / "b", evil):
        folder.mkdir(parents=True)
    (root / "a" / "file.txt").write_text("inside\n")
    (root / "a" / "b" / "deep.md").write_text("# Deep\nwell inside\n")
    (root / "ünïcode name.txt").write_text("größe\n")
    (root / "back\\slash.txt").write_text("inside\n")
    (root / ".env").write_text(SECRET)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text(SECRET)
    (root / "binary.bin").write_bytes(bytes(range(256)) * 4)
    (evil / "secret.txt").write_text(SECRET)
    (base / "secret.txt").write_text(SECRET)
    (root / "link-file").symlink_to(base / "secret.txt")
    (root / "link-relative").symlink_to("../secret.txt")
    (root / "link-dir").symlink_to(base)
    (root / "link-root").symlink_to("/")
    (root / "link-inside").symlink_to("a/file.txt")
    (root / "link-loop").symlink_to("link-loop")
    (root / "link-proc").symlink_to("/proc/self/root/etc/passwd")
    (root / "a" / "link-up").symlink_to("..")
    os.mkfifo(root / "fifo")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(root)  # the whole path would be too long for a socket
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    return root


@pytest.fixture(params=["openat2", "step by step"])
def tree(house: Path, request: pytest.FixtureRequest) -> Iterator[Tree]:
    tree = Tree(house, by_kernel=request.param == "openat2")
    yield tree
    tree.close()


ESCAPES = [
    "../secret.txt",
    "../root-evil/secret.txt",
    "a/../../secret.txt",
    "a/b/../../../secret.txt",
    "./../secret.txt",
    "a/./../../secret.txt",
    "a//..//..//secret.txt",
    "..",
    "../",
    "../root/../secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "link-file",
    "link-relative",
    "link-dir/secret.txt",
    "link-dir/root-evil/secret.txt",
    "link-root/etc/passwd",
    "link-proc",
    "link-loop",
    "link-inside",
    "a/link-up/.env",
    "a/link-up/a/file.txt",
    "fifo",
    "socket",
    ".env",
    ".git/config",
    "a/../.env",
    "a/file.txt\0.png",
    "\0",
    "a/file.txt/",
    "a/file.txt/..",
    "a/file.txt/../../../secret.txt",
    "a" * 5000,
    "/".join(["a"] * 600),
    "\udcff\udcfe",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "..\\secret.txt",
    "~/.ssh/id_rsa",
    "$HOME/secret.txt",
    "a/b/\u2025/secret.txt",
    "．．/secret.txt",
    "file:///etc/passwd",
    "C:\\Windows\\win.ini",
    "nothing-there",
    # --- places that lead anywhere
    "/proc/self/fd/3",
    "/proc/self/root/etc/passwd",
    "/dev/stdin",
    "/dev/fd/0",
    "proc/self/environ",
    "link-root/proc/self/environ",
    "link-proc/../../etc/passwd",
    "link-dir/../secret.txt",
    "a/link-up/../../secret.txt",
    # --- as other systems write them
    "//server/share/secret.txt",
    "\\\\server\\share\\secret.txt",
    "\\\\?\\C:\\secret.txt",
    "C:/Windows/win.ini",
    "C:secret.txt",
    "a/file.txt::$DATA",
    "a/file.txt:stream",
    "CON",
    # --- in codes, and in letters that look alike
    "..%00/secret.txt",
    "..%c0%af/secret.txt",
    "%252e%252e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "..;/secret.txt",
    "....//secret.txt",
    ".../secret.txt",
    "..\u2215secret.txt",
    "..\u2044secret.txt",
    "..\uff0fsecret.txt",
    "\uff0e\uff0e\uff0fsecret.txt",
    "\u2024\u2024/secret.txt",
    "\u202e../secret.txt",
    "a\u200b/../../secret.txt",
    "\u00fcn\u0131\u0307code name.txt",
    "u\u0308ni\u0308code name.txt",  # the other normal form of a name that is there
    "A/FILE.TXT",
    # --- blanks and signs
    " ../secret.txt",
    "../ secret.txt",
    "../secret.txt ",
    "..\t/secret.txt",
    "..\n/secret.txt",
    "a/file.txt\r\n",
    "a/file.txt ",
    "a/file.txt.",
    "\x00../secret.txt",
    "a/file.txt\x00",
    "*",
    "a/*",
    "a/[f]ile.txt",
    "{a,b}/file.txt",
    "~root/.ssh/id_rsa",
    "${HOME}/secret.txt",
    "`id`",
    "$(cat ../secret.txt)",
    "|cat ../secret.txt",
    "-rf",
    # --- long
    "n" * 256,
    "\u00fc" * 600,
    "a/../" * 200 + "secret.txt",
    "a/" * 511 + "x",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out(tree: Tree, path: str) -> None:
    for question in (lambda: tree.read(path, 0, 1000), lambda: tree.entry(path), lambda: tree.entries(path)):
        try:
            answer = str(question())
        except Refused as e:
            answer = str(e)
        else:
            # a final slash may be forgiven, but only for what is inside
            assert path == "a/file.txt/", (path, answer)
        assert SECRET not in answer


@pytest.mark.parametrize("path", ["a/file.txt", "./a/file.txt", "a//file.txt", "a/./file.txt"])
def test_what_is_inside_is_read(tree: Tree, path: str) -> None:
    assert tree.read(path, 0, 100) == (b"inside\n", 7)
    assert tree.entry(path).kind == "file"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("link-dir/secret.txt")
@given(
    st.lists(
        st.sampled_from(["a", "b", "..", ".", "", "link-dir", "link-up", "root", "root-evil", "secret.txt", ".git"]),
        max_size=8,
    ).map("/".join)
    | st.text(max_size=20)
)
def test_nothing_outside_is_ever_read(tree: Tree, path: str) -> None:
    try:
        content, _ = tree.read(path, 0, 1000)
    except Refused:
        return
    assert SECRET.encode() not in content


def test_links_are_listed_but_not_followed(tree: Tree) -> None:
    kinds = {e.path: e.kind for e in tree.entries(".")}
    assert kinds["link-file"] == "link"
    assert kinds["fifo"] == kinds["socket"] == "other"
    assert kinds["a"] == "directory"
    assert ".env" not in kinds
    assert {e.path for e in tree.walk(".", 100)} == {
        "a/file.txt", "a/b/deep.md", "ünïcode name.txt", "back\\slash.txt", "binary.bin",
    }  # fmt: skip


def test_a_directory_swapped_for_a_link_does_not_lead_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "d").mkdir(parents=True)
    outside.mkdir()
    (root / "d" / "x").write_text("inside")
    (outside / "x").write_text(SECRET)
    for by_kernel in (True, False):
        tree = Tree(root, by_kernel=by_kernel)
        if (root / "d").is_symlink():
            (root / "d").unlink()
            (root / "kept").rename(root / "d")
        assert tree.read("d/x", 0, 10)[0] == b"inside"
        (root / "d").rename(root / "kept")
        (root / "d").symlink_to(outside)
        with pytest.raises(Refused, match=r"link|no directory"):
            tree.read("d/x", 0, 10)
        tree.close()


@pytest.mark.parametrize("by_kernel", [True, False], ids=["openat2", "step by step"])
def test_no_moment_of_a_race_leads_out(tmp_path: Path, by_kernel: bool) -> None:
    """A directory, a link to the outside and nothing take turns under one name while it is read."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "d").mkdir(parents=True)
    outside.mkdir()
    (root / "d" / "x").write_text("inside")
    (outside / "x").write_text(SECRET)
    (root / "link").symlink_to(outside)
    tree, found, over = Tree(root, by_kernel=by_kernel), set[bytes](), threading.Event()

    def swap() -> None:
        while not over.is_set():
            for name in ("d", "link"):
                (root / name).rename(root / "now")
                (root / "now").rename(root / name)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        deadline = time.monotonic() + 30
        reads = refusals = 0
        while time.monotonic() < deadline and (reads < 300 or not found or refusals < 300):
            reads += 1
            try:
                found.add(tree.read("now/x", 0, 100)[0])
            except Refused:
                refusals += 1
    finally:
        over.set()
        swapping.join()
        tree.close()
    assert found == {b"inside"}


def test_hidden_files_are_served_only_when_asked_for(house: Path) -> None:
    tree = Tree(house, hidden=True)
    assert tree.read(".env", 0, 100)[0] == SECRET.encode()
    tree.close()


async def test_a_long_text_is_read_in_parts_that_fit_together(ask: Ask, tmp_path: Path) -> None:
    text = "äöü€𝄞x" * 2000
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    server = build(Tree(tmp_path))
    for limit in (1000, 1001, 1002, 4097):
        parts, offset = [], 0
        while offset is not None:
            part = await ask(server, "read_file", path="long.txt", offset=offset, limit=limit)
            parts.append(part["content"])
            offset = part["next_offset"]
        assert "".join(parts) == text


async def test_the_tools_answer_and_refuse_in_words(ask: Ask, house: Path) -> None:
    server = build(Tree(house))
    listed = await ask(server, "list_directory", path="a")
    assert [e["path"] for e in listed["entries"]] == ["a/b", "a/file.txt", "a/link-up"]
    assert (await ask(server, "file_info", path="a/b/deep.md"))["media_type"] == "text/markdown"
    assert "leads upwards" in await ask(server, "read_file", path="../secret.txt")
    assert "Links are not followed" in await ask(server, "read_file", path="link-file")
    assert "is absolute" in await ask(server, "read_file", path="/etc/passwd")
    assert "is a directory" in await ask(server, "read_file", path="a")
    assert "no regular file" in await ask(server, "read_file", path="fifo")
    assert "no text" in await ask(server, "read_file", path="binary.bin")
    raw = await ask(server, "read_file", path="binary.bin", encoding="base64", limit=4)
    assert raw["content"] == "AAECAw=="
    assert "list_directory" in await ask(server, "read_file", path="nope")


async def test_a_search_finds_names_and_lines_and_stops_at_its_cap(ask: Ask, house: Path) -> None:
    server = build(Tree(house))
    found = await ask(server, "search_files", query="INSIDE")
    assert {(m["path"], m["line"]) for m in found["matches"]} == {
        ("a/file.txt", 1), ("a/b/deep.md", 2), ("back\\slash.txt", 1),
    }  # fmt: skip
    named = await ask(server, "search_files", name="*.md")
    assert [m["path"] for m in named["matches"]] == ["a/b/deep.md"]
    capped = await ask(server, "search_files", query="inside", limit=1)
    assert len(capped["matches"]) == 1
    assert SECRET not in str(await ask(server, "search_files", query=SECRET))
    assert "leads upwards" in await ask(server, "search_files", query="x", path="../")
