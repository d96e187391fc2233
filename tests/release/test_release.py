"""A release: the same commit gives the same bytes, and every file can be checked against the provenance."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from release.build import ReleaseError, build, envelope, main, provenance
from release.verify import main as verify
from release.verify import problems


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Files with a private and a public key."""
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "release.key", tmp_path / "release.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def released(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """A folder with two files and their signed provenance."""
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "a.whl").write_bytes(b"wheel")
    (folder / "a.tar.gz").write_bytes(b"source")
    statement = provenance(sorted(folder.iterdir()), commit="c" * 40, dirty=False, version="1.0")
    signer = serialization.load_pem_private_key(keys[0].read_bytes(), None)
    assert isinstance(signer, Ed25519PrivateKey)
    (folder / "a.intoto.jsonl").write_text(json.dumps(envelope(statement, signer)))
    return folder


def test_a_release_fits_its_provenance(released: Path, keys: tuple[Path, Path]) -> None:
    assert problems(released, keys[1]) == []
    assert verify([str(released), "--key", str(keys[1])]) == 0


def test_a_changed_file_is_named(released: Path) -> None:
    (released / "a.whl").write_bytes(b"another wheel")
    assert problems(released, None) == [
        "a.whl is not the file that was built: its SHA-256 differs from the provenance."
    ]
    assert verify([str(released)]) == 1


def test_missing_and_additional_files_are_named(released: Path) -> None:
    (released / "a.tar.gz").unlink()
    (released / "b.whl").write_bytes(b"")
    assert problems(released, None) == ["a.tar.gz is missing.", "b.whl is not named by the provenance."]


def test_a_signature_by_another_key_does_not_count(released: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    [problem] = problems(released, other)
    assert "no signature is by the key" in problem


def test_a_changed_statement_breaks_the_signature(released: Path, keys: tuple[Path, Path]) -> None:
    path = released / "a.intoto.jsonl"
    document = json.loads(path.read_text())
    document["payload"] = document["payload"][:-8] + "AAAA" + document["payload"][-4:]
    path.write_text(json.dumps(document))
    assert problems(released, keys[1])


def test_an_unsigned_provenance_is_not_enough_where_a_key_is_given(released: Path, keys: tuple[Path, Path]) -> None:
    path = released / "a.intoto.jsonl"
    statement = provenance([released / "a.whl", released / "a.tar.gz"], commit="c" * 40, dirty=False, version="1.0")
    path.write_text(json.dumps(statement))
    assert problems(released, None) == []
    assert problems(released, keys[1]) == ["a.intoto.jsonl: the provenance is not signed."]


def test_a_folder_without_provenance_is_no_release(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, None)
    assert "0 provenance files" in problem


def test_a_key_that_cannot_be_used_is_refused_before_anything_is_built(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(ReleaseError, match="cannot be read as a private key"):
        build(tmp_path / "out", allow_dirty=True, key=keys[1])
    assert not (tmp_path / "out").exists()


def test_a_release_is_not_mixed_with_files_of_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.whl").write_bytes(b"")
    assert main(["--out", str(tmp_path), "--allow-dirty"]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(importlib.util.find_spec("cyclonedx_py") is None, reason="cyclonedx-bom is missing: make .venv/ci")
def test_a_release_is_built_twice_with_the_same_bytes(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    first = build(tmp_path / "one", allow_dirty=True, key=keys[0])
    second = build(tmp_path / "two", allow_dirty=True, key=keys[0])
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert problems(tmp_path / "one", keys[1]) == []
    [bill] = (tmp_path / "one").glob("*.cdx.json")
    document = json.loads(bill.read_text())
    assert document["specVersion"] == "1.6"
    assert {"mcp", "duckdb", "streamlit"} <= {each["name"] for each in document["components"]}
    assert all(each["hashes"] for component in document["components"] for each in component["externalReferences"])
