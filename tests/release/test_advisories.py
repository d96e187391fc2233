"""Locked dependencies are compared with a snapshot of advisories in the OSV format, without a network."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from release.advisories import LOCKS, ROOT, accepted, findings, main, pinned


def advisory(id: str = "PYSEC-2026-1", package: str = "Requests", **affected: Any) -> dict[str, Any]:
    return {
        "schema_version": "1.7.3",
        "id": id,
        "modified": "2026-11-02T10:00:00Z",
        "aliases": ["CVE-2026-1"],
        "summary": "Cookies go to the wrong host.",
        "affected": [{"package": {"ecosystem": "PyPI", "name": package}, **affected}],
    }


def ranges(*events: dict[str, str], type: str = "ECOSYSTEM") -> list[dict[str, Any]]:
    return [{"type": type, "events": list(events)}]


FIXED = ranges({"introduced": "0"}, {"fixed": "2.33.0"})


@pytest.mark.parametrize(
    ("version", "affected", "expected"),
    [
        ("2.32.0", {"ranges": FIXED}, True),
        ("2.33.0rc1", {"ranges": FIXED}, True),
        ("2.33.0", {"ranges": FIXED}, False),
        ("2.33.0.post1", {"ranges": FIXED}, False),
        ("1.5", {"ranges": ranges({"introduced": "1.0"}, {"last_affected": "1.5"})}, True),
        ("1.5.1", {"ranges": ranges({"introduced": "1.0"}, {"last_affected": "1.5"})}, False),
        ("0.9", {"ranges": ranges({"introduced": "1.0"})}, False),
        ("7.0", {"ranges": ranges({"introduced": "1.0"})}, True),
        ("2.5", {"ranges": ranges({"introduced": "1"}, {"fixed": "1.9"}, {"introduced": "2"}, {"fixed": "2.6"})}, True),
        (
            "1.9.5",
            {"ranges": ranges({"fixed": "2.6"}, {"introduced": "2"}, {"fixed": "1.9"}, {"introduced": "1"})},
            False,
        ),
        ("3.0", {"versions": ["3.0.0", "3.1"]}, True),
        ("3.2", {"versions": ["3.0.0", "3.1"]}, False),
        ("3.0", {"ranges": ranges({"introduced": "0"}, type="GIT")}, False),
        ("3.0", {"ranges": ranges({"introduced": "not a version"})}, False),
        ("3.0", {}, False),
    ],
)
def test_a_version_is_affected_as_the_format_says(version: str, affected: dict[str, Any], expected: bool) -> None:
    found = findings({"requests": Version(version)}, [advisory(**affected)])
    assert bool(found) is expected


def test_advisories_for_other_ecosystems_and_packages_do_not_count() -> None:
    other = advisory(ranges=FIXED)
    other["affected"][0]["package"]["ecosystem"] = "npm"
    assert findings({"requests": Version("1.0")}, [other, advisory(package="requests2", ranges=FIXED)]) == []


def test_a_finding_says_what_is_wrong_and_what_fixes_it() -> None:
    [found] = findings({"requests": Version("2.0")}, [advisory(ranges=FIXED)])
    assert str(found) == ("requests 2.0: PYSEC-2026-1 (CVE-2026-1): Cookies go to the wrong host. Fixed in 2.33.0.")


def snapshot(folder: Path, *known: Any) -> Path:
    path = folder / "PyPI-all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, each in enumerate(known):
            archive.writestr(f"A-{number}.json", json.dumps(each))
    return path


def lock(folder: Path, text: str = "requests==2.0 \\\n    --hash=sha256:00\n") -> Path:
    path = folder / "some.lock"
    path.write_text(text)
    return path


def test_what_is_found_ends_with_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = snapshot(tmp_path, advisory(ranges=FIXED), {**advisory("PYSEC-2", ranges=FIXED), "withdrawn": "2026-01-01"})
    assert main(["--snapshot", str(place), str(lock(tmp_path))]) == 1
    printed = capsys.readouterr().out
    assert "1 locked packages, 1 advisories up to 2026-11-02: 1 found." in printed
    assert "PYSEC-2 " not in printed
    assert main(["--snapshot", str(place), str(lock(tmp_path, "requests==2.33.0\n"))]) == 0


def test_a_missing_snapshot_is_never_taken_for_a_clean_bill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--snapshot", str(tmp_path / "none.zip")]) == 3
    assert "were not audited" in capsys.readouterr().out


def test_a_file_that_is_no_advisory_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match=r"x\.json .* is not an advisory"):
        main(["--snapshot", str(tmp_path), str(lock(tmp_path))])


def test_an_accepted_advisory_needs_a_reason_and_an_end(tmp_path: Path) -> None:
    path = tmp_path / "accepted.toml"
    path.write_text('[PYSEC-2026-1]\nreason = "The function is not called."\nuntil = 2026-12-31\n')
    assert accepted(path, date(2026, 12, 31)) == {"PYSEC-2026-1": "The function is not called."}
    assert accepted(path, date(2027, 1, 1)) == {}
    assert accepted(tmp_path / "none.toml", date(2026, 1, 1)) == {}
    path.write_text('[PYSEC-2026-1]\nreason = "Some day."\n')
    with pytest.raises(ValueError, match="accepts PYSEC-2026-1 without"):
        accepted(path, date(2026, 1, 1))


def test_every_pin_of_the_lock_files_is_read() -> None:
    for name in LOCKS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(pinned(text)) == sum(1 for line in text.splitlines() if "==" in line and line[0].isalnum())
