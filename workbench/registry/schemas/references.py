"""What a `$ref` of a schema means: by the rules first, then by what people write in place of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin

Path = tuple[str | int, ...]

DATA: Final = frozenset({"enum", "const", "default", "examples", "example"})
"""Keywords whose value is data: nothing in it is a schema, whatever it looks like."""

_SHELVES: Final = (("$defs",), ("definitions",), ("components", "schemas"), ("schemas",), ("defs",))
"""Where definitions are kept."""

_PLAIN: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
"""The characters of a URI fragment (RFC 3986, section 3.5)."""


class SchemaReferences:
    """Finds the parts of one schema document that its references name."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._ids: dict[str, Path] = {}
        self._anchors: dict[tuple[Path, str], Path] = {}
        self._resources: dict[Path, str] = {(): ""}
        for path, node in _objects(document, ()):
            self._index(path, node)

    @property
    def nested(self) -> bool:
        """Whether parts of the document are documents of their own, by an `$id`."""
        return len(self._resources) > 1

    def find(self, reference: str, at: Path) -> tuple[Path, bool] | None:
        """Where `reference` leads, and whether by the rules alone; None when it leads out of the document or nowhere.

        Beyond the rules, what is certain: a pointer that was not escaped, one that starts at a part that was a document
        of its own before somebody put it into another, and the name of a definition, wherever definitions are kept.

        Args:
            reference: the value of `$ref`, `$dynamicRef` or `$recursiveRef`.
            at: path of the object that holds it.
        """
        uri, _, fragment = reference.partition("#")
        root = self._resource(at)
        if uri:
            named = self._ids.get(urljoin(self._resources[root], uri))
            if named is None:
                return self._by_name(reference)
            root = named
        if not fragment:
            return root, True
        if not fragment.startswith("/"):
            anchored = self._anchors.get((root, fragment))
            return (anchored, True) if anchored is not None else self._by_name(reference)
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in unquote(fragment)[1:].split("/")]
        if _PLAIN.fullmatch(fragment) and (found := self.follow(root, tokens)) is not None:
            return found, True
        raw = [token.replace("~1", "/").replace("~0", "~") for token in fragment[1:].split("/")]
        starts = [root, *(at[:n] for n in range(len(at), -1, -1))]
        for start in starts:
            for way in (tokens, raw):
                if (found := self.follow(start, way)) is not None:
                    return found, False
        return self._by_name(reference)

    def _by_name(self, reference: str) -> tuple[Path, bool] | None:
        uri, _, _ = unquote(reference).partition("#")
        if "://" in uri:
            return None
        parts = [part for part in re.split(r"[/#]", reference) if part]
        if len(parts) > 1 and not any(tuple(parts[:-1])[-len(shelf) :] == shelf for shelf in _SHELVES):
            return None
        name = parts[-1] if parts else ""
        for each in dict.fromkeys((name, unquote(name), name.removesuffix(".json"))):
            places = [p for shelf in _SHELVES if (p := self.follow((), [*shelf, each])) is not None]
            if len(places) == 1:
                return places[0], False
        return None

    def follow(self, start: Path, tokens: list[str]) -> Path | None:
        """The path that leads from `start` over `tokens` to a subschema; None when there is none."""
        path: Path = start
        try:
            node: Any = at_path(self._document, start)
        except (KeyError, IndexError, TypeError):
            return None  # a place that came up by repair
        for token in tokens:
            if isinstance(node, dict) and token in node:
                path, node = (*path, token), node[token]
            elif isinstance(node, list) and token.isascii() and token.isdigit() and int(token[:6]) < len(node):
                path, node = (*path, int(token)), node[int(token)]
            else:
                return None
        return path if isinstance(node, dict | bool) else None

    def _resource(self, at: Path) -> Path:
        """The innermost document of its own around `at`."""
        return next(at[:n] for n in range(len(at), -1, -1) if at[:n] in self._resources)

    def _index(self, path: Path, node: dict[str, Any]) -> None:
        named = node.get("$id")
        if isinstance(named, str) and named and not named.startswith("#"):
            outer = self._resource(path[:-1])
            absolute = urljoin(self._resources[outer], named.partition("#")[0])
            self._resources[path] = absolute
            self._ids.setdefault(absolute, path)
        root = self._resource(path)
        anchors = [node.get("$anchor"), node.get("$dynamicAnchor")]
        if isinstance(named, str) and named.startswith("#"):
            anchors.append(named[1:])
        for anchor in anchors:
            if isinstance(anchor, str):
                self._anchors.setdefault((root, anchor), path)


def _objects(node: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    waiting: list[tuple[Path, Any]] = [(path, node)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, dict):
            yield path, node
            waiting += [((*path, key), child) for key, child in node.items() if _is_schema_part(path, key, child)]
        elif isinstance(node, list):
            waiting += [((*path, n), child) for n, child in enumerate(node) if isinstance(child, dict | list)]


def _is_schema_part(path: Path, key: str, child: Any) -> bool:
    """Whether there can be schemas below; a property may be called `default`."""
    return isinstance(child, dict | list) and (key not in DATA or path[-1:] == ("properties",))


def at_path(document: Any, path: Path) -> Any:
    """What lies at `path`, which there has to be."""
    for part in path:
        document = document[part]
    return document


def pointer(path: Path) -> str:
    """`path` as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def fragment_of(path: Path) -> str:
    """`path` as a reference within its document, with all that a URI has no room for escaped."""
    return "#" + quote(pointer(path), safe="/~$!&'()*+,;=:@?")
