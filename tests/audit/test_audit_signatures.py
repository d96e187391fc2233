"""The tree over the seals and the signed checkpoints."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.audit.format.checkpoint import Signer, read_checkpoint, read_verifier_key, verifier_key
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.merkle_tree import (
    Frontier,
    consistency,
    consistent,
    included,
    inclusion,
    leaf_hash,
    root_of,
)
from workbench.audit.write.checkpoint_signing import open_signer
from workbench.events import MisuseError

ENTRIES = [b"entry %d" % number for number in range(40)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def test_the_roots_are_those_of_the_standard():
    # RFC 6962 test vectors, as used by Certificate Transparency implementations
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    frontier = Frontier()
    assert frontier.root() == hashlib.sha256(b"").digest() == root_of([])
    for size, text in enumerate(inputs, 1):
        frontier.append(bytes.fromhex(text))
        if size in roots:
            assert frontier.root().hex() == roots[size]


def test_inclusion_is_proved_for_every_leaf_and_for_no_other():
    for size in range(1, len(LEAVES)):
        leaves = LEAVES[:size]
        root = root_of(leaves)
        for index in range(size):
            path = inclusion(index, leaves)
            assert included(index, size, leaves[index], path, root)
            assert not included(index, size, leaf_hash(b"other"), path, root)
            assert not included((index + 1) % size, size, leaves[index], path, root) or size == 1
            assert not included(index, size, leaves[index], [*path, root], root)
    assert not included(3, 3, LEAVES[0], [], LEAVES[0])


def test_consistency_is_proved_for_every_beginning_and_for_no_other():
    for size in range(1, len(LEAVES)):
        root = root_of(LEAVES[:size])
        for first in range(1, size + 1):
            path = consistency(first, LEAVES[:size])
            assert consistent(first, size, root_of(LEAVES[:first]), root, path)
            if first < size:
                assert not consistent(first, size, root_of([leaf_hash(b"x"), *LEAVES[1:first]]), root, path)
                assert not consistent(first, size, root_of(LEAVES[:first]), root, [*path, root])
    assert not consistent(0, 3, b"", root_of(LEAVES[:3]), [])
    assert not consistent(3, 4, root_of(LEAVES[:3]), root_of(LEAVES[:4]), [])


def test_a_frontier_gives_the_same_root_as_the_whole_tree():
    frontier = Frontier()
    for size, entry in enumerate(ENTRIES, 1):
        frontier.append(entry)
        assert (frontier.size, frontier.root()) == (size, root_of(LEAVES[:size]))


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def test_a_signed_checkpoint_is_read_back(key):
    made = Signer("here", key).sign(7, b"r" * 32)
    assert made.note.startswith("here\n7\n")
    assert read_checkpoint(made.note, "here", key.public_key()) == made


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda note: note.replace("\n7\n", "\n8\n"), "does not fit"),
        (lambda note: note.replace("here", "there"), "another origin"),
        (lambda note: note.replace("\n\n", "\n"), "malformed"),
        (lambda note: note.replace("\n7\n", "\nseven\n"), "malformed"),
        (lambda note: note.replace("— here", "— there"), "not signed by the key"),
        (lambda note: note.split("— ")[0], "not signed by the key"),
        (lambda note: note.split("— ")[0] + "— here !!!\n", "not signed by the key"),
        (lambda note: "", "malformed"),
    ],
)
def test_a_changed_checkpoint_is_refused(change, why, key):
    note = Signer("here", key).sign(7, b"r" * 32).note
    with pytest.raises(ValueError, match=why):
        read_checkpoint(change(note), "here", key.public_key())


def test_a_checkpoint_of_another_key_is_refused(key):
    note = Signer("here", Ed25519PrivateKey.generate()).sign(7, b"r" * 32).note
    with pytest.raises(ValueError, match="not signed by the key"):
        read_checkpoint(note, "here", key.public_key())


def test_the_public_key_is_read_back_and_checked(key):
    text = verifier_key("here", key.public_key())
    origin, public = read_verifier_key(text + "\n")
    assert (origin, public.public_bytes_raw()) == ("here", key.public_key().public_bytes_raw())
    for wrong in ("", "here", "here+00000000+AAAA", text.replace("here", "there"), text[:-4] + "!!!!"):
        with pytest.raises(MisuseError):
            read_verifier_key(wrong)


def test_the_key_is_made_once_and_readable_by_its_owner_alone(home):
    folder = AuditFolder(home)
    folder.prepare()
    first, second = open_signer(folder), open_signer(folder)
    assert first is not None
    assert second is not None
    assert first.sign(1, b"r" * 32).note == second.sign(1, b"r" * 32).note
    assert folder.key.stat().st_mode & 0o777 == 0o600
    assert first.origin in folder.public_key.read_text()


def test_two_processes_that_make_the_key_at_once_agree(home, monkeypatch):
    folder = AuditFolder(home)
    folder.prepare()
    first = open_signer(folder)
    read_bytes = type(folder.key).read_bytes
    answers = iter([FileNotFoundError])

    def too_early(path):
        if path == folder.key and (error := next(answers, None)):
            raise error
        return read_bytes(path)

    monkeypatch.setattr(type(folder.key), "read_bytes", too_early)
    second = open_signer(folder)
    assert first is not None
    assert second is not None
    assert second.origin == first.origin
