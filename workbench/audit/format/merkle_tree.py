"""The Merkle tree over seals: RFC 6962 §2.1 hashing, proofs as in RFC 9162 §2.1.3 and §2.1.4."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry (a line of `seals.jsonl` without its newline)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The roots of the full subtrees, left to right: all that is needed to append and to name the root."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    @classmethod
    def of(cls, size: int, peaks: Sequence[bytes]) -> Frontier:
        """The frontier of a tree of `size` entries from what `peaks` gave.

        Raises:
            ValueError: a tree of this size has another number of full subtrees.
        """
        heights = [height for height in reversed(range(size.bit_length())) if size >> height & 1]
        frontier = cls()
        frontier.size = size
        frontier._peaks = list(zip(heights, peaks, strict=True))
        return frontier

    @property
    def peaks(self) -> list[bytes]:
        """The roots of the full subtrees, the largest first; as many as `size` has ones in binary."""
        return [root for _, root in self._peaks]

    def append(self, entry: bytes) -> None:
        """Add one entry."""
        height, node = 0, leaf_hash(entry)
        while self._peaks and self._peaks[-1][0] == height:
            node = node_hash(self._peaks.pop()[1], node)
            height += 1
        self._peaks.append((height, node))
        self.size += 1

    def root(self) -> bytes:
        """The tree's root; of an empty tree the hash of nothing."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        root = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes (RFC 6962 §2.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def _split(n: int) -> int:
    return 1 << ((n - 1).bit_length() - 1)


def inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The path that proves that leaf `index` is in the tree (RFC 6962 §2.1.1)."""
    if len(leaves) <= 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion(index, leaves[:k]), root_of(leaves[k:])]
    return [*inclusion(index - k, leaves[k:]), root_of(leaves[:k])]


def consistency(size: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The path that proves that the tree of the first `size` leaves is a beginning of this one (RFC 6962 §2.1.2)."""
    return _consistency(size, leaves, True)


def _consistency(size: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if complete else [root_of(leaves)]
    k = _split(len(leaves))
    if size <= k:
        return [*_consistency(size, leaves[:k], complete), root_of(leaves[k:])]
    return [*_consistency(size - k, leaves[k:], False), root_of(leaves[:k])]


def included(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that `leaf` is entry `index` of the tree with `size` entries and `root`."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf
    for step in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(step, node)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            node = node_hash(node, step)
        fn >>= 1
        sn >>= 1
    return sn == 0 and node == root


def consistent(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree of `first` entries is a beginning of the tree of `second` entries."""
    if first == second:
        return first_root == second_root and not path
    if first == 0 or first > second:
        return False
    nodes = ([first_root] if first & (first - 1) == 0 else []) + list(path)
    if not nodes:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old = new = nodes[0]
    for step in nodes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(step, old), node_hash(step, new)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            new = node_hash(new, step)
        fn >>= 1
        sn >>= 1
    return sn == 0 and old == first_root and new == second_root
