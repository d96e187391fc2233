"""Checking a chain of lines: every line names the SHA-256 of the line before it, byte for byte."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

import orjson

LINE = re.compile(rb'^\{"seq":(\d+),"prev":"([0-9a-f]{64})",')
"""How every line begins; the rest is the record as it was given."""


def genesis(tenant: str, writer: str) -> str:
    """What the first line of a chain names as its predecessor: it ties the chain to its tenant and its writer."""
    return hashlib.sha256(f"mcp-workbench audit 1\n{writer}\n{tenant}".encode("utf-8", "replace")).hexdigest()


class ChainState(NamedTuple):
    """Where a chain stands: the sequence number and the predecessor that the next line must have."""

    tenant: str
    seq: int
    head: str

    @classmethod
    def start(cls, tenant: str, writer: str) -> ChainState:
        """The beginning of the chain of one tenant and one writer."""
        return cls(tenant, 0, genesis(tenant, writer))


class ChainBreak(NamedTuple):
    """The first line that does not fit."""

    seq: int
    reason: str


def follow(state: ChainState, lines: Iterable[bytes], end: str = "") -> tuple[ChainState, ChainBreak | None]:
    """Walk along `lines` (with their newlines) and stop at the first that does not continue the chain.

    Args:
        end: hash of the last line, where a seal states it.
    """
    seq, head = state.seq, state.head.encode()
    tenant = b'"tenant":' + orjson.dumps(state.tenant)
    lines = iter(lines)
    for line in lines:
        match = LINE.match(line)
        if line[-1:] != b"\n":
            return ChainState(state.tenant, seq, head.decode()), ChainBreak(seq, "the line is not complete")
        if match is None:
            reason = "the line is not one that the log wrote"
        elif int(match[1]) != seq:
            reason = f"the line has number {int(match[1])}: lines are missing, repeated or moved"
        elif match[2] != head:
            following = LINE.match(next(lines, b""))
            expected = following[2] if following else end.encode()
            if seq > state.seq and expected == hashlib.sha256(line[:-1]).hexdigest().encode():
                # What comes after agrees with this line, so it is the one before that is not what it was.
                broken = ChainBreak(seq - 1, "the line was altered: the one after it does not follow from it")
                return ChainState(state.tenant, seq - 1, head.decode()), broken
            reason = "the line does not follow from the one before it"
        elif tenant not in line:
            reason = "the line belongs to another tenant"
        else:
            head = hashlib.sha256(line[:-1]).hexdigest().encode()
            seq += 1
            continue
        return ChainState(state.tenant, seq, head.decode()), ChainBreak(seq, reason)
    return ChainState(state.tenant, seq, head.decode()), None
