"""Every secret key that the platform owns: what it is for, how old it is, and how it is replaced.

Keys of others (servers' credentials, TLS, SPIFFE, Slack) are replaced where they come from. Secrets that a platform
makes for itself at its start, and that end with it, are not listed either.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from workbench.access.api_keys import ApiKeys, local_key
from workbench.access.app_sessions import AppSessions
from workbench.access.key_replacement import KeyFile
from workbench.access.local_user import read_private
from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.record_keys import InvalidRotationsError, read_rotations, rotations_text
from workbench.audit.write.seals import SealLog
from workbench.audit.write.subject_keys import FILE, SubjectKeys
from workbench.audit.write.witness import open_witness
from workbench.config import Settings, prepare_home
from workbench.events import MisuseError, Record, WorkbenchError, now_us
from workbench.platform.run_file import find_running
from workbench.secrets.keyring import KeyRing

DAY_US: Final = 86_400_000_000


class PlatformKey(NamedTuple):
    """One key, or one kind of keys."""

    name: str
    purpose: str
    effect: str
    """What rotating it does."""
    file: str
    """Within the state folder."""
    kept_us: int | None = 0
    """How long the previous key is accepted, in microseconds; None: as long as it is kept."""
    ring: bool = False
    """Whether a next key can be prepared, and previous ones are kept."""
    make: Callable[[], bytes] = lambda: secrets.token_bytes(32)
    needs_next: bool = False
    """Whether others have to know the next key before it is used, even with one gateway."""


def _pem() -> bytes:
    from workbench.access.outbound.signing_keys import made

    return made()


KEYS: Final = {
    key.name: key
    for key in (
        PlatformKey(
            "session",
            "seals what clients carry: sessions of older clients, waiting questions, tasks, remembered answers",
            "the new key seals; what the old one sealed is accepted for 7 more days",
            "session.key",
            kept_us=7 * DAY_US,
            ring=True,
        ),
        PlatformKey(
            "redaction",
            "makes the pseudonyms <EMAIL:…>, and seals personal data in addresses of resources",
            "new pseudonyms do not join with old ones; addresses sealed before are still turned back",
            "redaction.key",
            kept_us=None,
            ring=True,
        ),
        PlatformKey(
            "oauth",
            "signs the access tokens of our own authorization server",
            "the new key signs; the old one stays among the published keys for a day, the longest life of a token",
            "oauth.key",
            kept_us=DAY_US,
            ring=True,
            make=_pem,
        ),
        PlatformKey(
            "gateway",
            "proves to identity providers who this gateway is (`workbench access identity`)",
            "the prepared key, which has to be registered first, signs; the old one may be removed at the provider",
            "gateway.key",
            ring=True,
            make=_pem,
            needs_next=True,
        ),
        PlatformKey(
            "token",
            "is the token of the local user, the owner",
            "the old token is revoked at once; the new one is in the file `token`",
            "token",
        ),
        PlatformKey(
            "app",
            "are the links and sessions of browsers in the app",
            "every browser is signed out and every link is void",
            "app/sessions",
        ),
        PlatformKey(
            "subjects",
            "encrypt what people asked and got on the record, with a key for each (audit_encrypt)",
            "a new key for each person from now on; what is recorded stays readable; forgetting destroys all of them",
            FILE,
        ),
        PlatformKey(
            "checkpoint",
            "signs the checkpoints of the record",
            "the old key states which follows and signs nothing after that; give the new checkpoint.pub to verifiers",
            "audit/checkpoint.key",
        ),
    )
}


class KeyState(Record, frozen=True, kw_only=True):
    """A key as it may be shown."""

    name: str
    purpose: str
    effect: str
    file: str
    made_us: int | None = None
    """When it was made, in microseconds since the epoch; None when there is none yet."""
    prepared: bool = False
    """Whether the next key is there and accepted."""
    previous: int = 0
    """How many earlier keys are still accepted, or kept to read."""


class RotationResult(Record, frozen=True, kw_only=True):
    """What was done with one key."""

    name: str
    done: str
    notes: tuple[str, ...] = ()


def key_states(settings: Settings) -> list[KeyState]:
    """Every key of a state folder, whether there is one yet or not.

    Raises:
        MisuseError: the folder is no state folder, or a ring cannot be read.
    """
    home = prepare_home(settings.home)
    return [_state(home, key) for key in KEYS.values()]


def _state(home: Path, key: PlatformKey) -> KeyState:
    path = home / key.file
    made, prepared, previous = _changed_us(path), False, 0
    if key.ring:
        ring = KeyRing.beside(path)
        prepared = ring.next is not None
        previous = len(ring.accepted()) - prepared
    elif key.name == "checkpoint":
        with contextlib.suppress(InvalidRotationsError, UnicodeDecodeError):  # `audit verify` names what is wrong
            previous = len(read_rotations(rotations_text(AuditFolder(home))))
    elif key.name == "subjects" and made is not None:
        with contextlib.closing(SubjectKeys(home)) as keys:
            made = keys.newest_us()
    elif key.name == "app":
        made = max((_changed_us(each) or 0 for each in path.glob("*")), default=0) or None
    return KeyState(
        name=key.name, purpose=key.purpose, effect=key.effect, file=key.file, made_us=made, prepared=prepared,
        previous=previous,
    )  # fmt: skip


def _changed_us(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns // 1000
    except FileNotFoundError:
        return None


async def rotate(
    settings: Settings, names: list[str], *, prepare: bool = False, now: bool = False, by: str
) -> list[RotationResult]:
    """Replace keys, each on the record before it is done.

    Args:
        settings: whose keys.
        names: of `KEYS`; those that do not exist yet are left out with a note.
        prepare: only make the next key, which is accepted from then on and used after the next rotation.
        now: do without a prepared key, and accept nothing of the old one: it leaked.
        by: who does it.

    Raises:
        MisuseError: a name is unknown, a platform or another writer uses the folder, or a key has to be prepared first.
            Nothing was changed then.
        NotRecordedError: the record cannot be written; the key that was to follow was not changed.
    """
    home = prepare_home(settings.home)
    keys = [_key(name) for name in names]
    _check(settings, keys, prepare, now)
    _check_alone(home, settings)
    done: list[RotationResult] = []
    log = await AuditLog.open(settings)
    try:
        for key in keys:
            if not _exists(settings, key):
                done.append(RotationResult(name=key.name, done="there is none yet"))
                continue
            act = "prepared" if prepare else "replaced"
            await _record(log, settings, f"key to be {act}", key, by)
            try:
                done.append(_prepare(settings, key) if prepare else _rotate(settings, key, now))
            except BaseException:
                await _record(log, settings, f"key not {act}", key, by)
                raise
            await _record(log, settings, f"key {act}", key, by)
    finally:
        await log.close()
    return done


async def _record(log: AuditLog, settings: Settings, event: str, key: PlatformKey, by: str) -> None:
    detail = {"key": key.name, "file": key.file, "by": by}
    await log.write(settings.tenant, records.access_event(event, detail, tenant=settings.tenant, subject=by))


def _key(name: str) -> PlatformKey:
    try:
        return KEYS[name]
    except KeyError:
        raise MisuseError(f"There is no key {name[:100]!r}.", hint=f"Expected one of {', '.join(KEYS)}.") from None


def _check(settings: Settings, keys: list[PlatformKey], prepare: bool, now: bool) -> None:
    if prepare and now:
        raise MisuseError(
            "--prepare and --now exclude each other.", hint="A key that leaked is replaced with --now alone."
        )
    for key in keys:
        if prepare and not key.ring:
            names = ", ".join(name for name, each in KEYS.items() if each.ring)
            raise MisuseError(f"The key {key.name} needs no preparation.", hint=f"--prepare is for {names}.")
        if prepare or now or not _exists(settings, key):
            continue
        if (key.needs_next or (key.ring and settings.database_url)) and _key_file(settings, key).ring().next is None:
            why = "identity providers have to know it" if key.needs_next else "every gateway has to accept it"
            raise MisuseError(
                f"The next key of {key.name} is not prepared, and {why} before it is used.",
                hint=f"Run `workbench rotate {key.name} --prepare`, see docs/key-rotation.md; or --now if it leaked.",
            )


def _exists(settings: Settings, key: PlatformKey) -> bool:
    if key.ring:
        return _key_file(settings, key).exists()
    path = settings.home / key.file
    return any(path.glob("*")) if key.name == "app" else path.exists()


def _check_alone(home: Path, settings: Settings) -> None:
    """Whoever has a key in memory would go on with the old one."""
    running = find_running(home)
    if running is not None:
        raise MisuseError(
            f"A platform runs on {home} (process {running.pid}) and holds these keys.",
            hint="Stop it, rotate, and start it again."
            + (" Other gateways may go on: see docs/key-rotation.md." if settings.database_url else ""),
        )
    for path in sorted(AuditFolder(home).writers.glob("*.lock")):
        if _held(path):
            raise MisuseError(
                f"Another process writes to the record of {home} ({path.name}), and holds these keys.",
                hint="End notebooks and commands that use this state folder, then try again.",
            )


def _held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


# --- keys with a ring -------------------------------------------------------------------------------


def _key_file(settings: Settings, key: PlatformKey) -> KeyFile:
    return KeyFile(settings, key.file, key.make)


def _prepare(settings: Settings, key: PlatformKey) -> RotationResult:
    made = _key_file(settings, key).prepare()
    notes = ["Register it: `workbench access identity` prints both keys."] if key.needs_next else []
    if settings.database_url:
        notes.append("Restart every gateway, one after the other; then rotate.")
    said = "the next key is there and will be accepted" if made else "the next key was there already"
    return RotationResult(name=key.name, done=said, notes=tuple(notes))


def _rotate_ring(settings: Settings, key: PlatformKey, now: bool) -> RotationResult:
    if now:
        _key_file(settings, key).replace()
    else:
        _key_file(settings, key).rotate(key.kept_us)
    notes = []
    if settings.database_url:
        notes.append("Restart every gateway, all at once." if now else "Restart every gateway, one after the other.")
    if key.needs_next:
        notes.append("Its public key is what `workbench access identity` prints; remove the old one at the provider.")
    if now and key.name == "redaction":
        notes.append("Addresses with sealed personal data that clients kept cannot be read any more.")
    return RotationResult(
        name=key.name, done="replaced" + (", the old key counts no more" if now else ""), notes=tuple(notes)
    )


# --- the others ---------------------------------------------------------------------------------------


def _rotate(settings: Settings, key: PlatformKey, now: bool) -> RotationResult:
    if key.ring:
        return _rotate_ring(settings, key, now)
    return {"token": _token, "app": _app, "subjects": _subjects, "checkpoint": _checkpoint}[key.name](settings)


def _token(settings: Settings) -> RotationResult:
    keys = ApiKeys(settings)
    try:
        old = keys.find(read_private(settings.home / "token"))
        if old is not None:
            keys.revoke(old.id, now_us())
        local_key(settings.home, keys, tenant=settings.tenant, now_us=now_us())
    finally:
        keys.close()
    where = settings.home / "token"
    return RotationResult(
        name="token", done=f"replaced; the new token is in {where}", notes=("Clients need the new token.",)
    )


def _app(settings: Settings) -> RotationResult:
    AppSessions(settings.home).clear()
    return RotationResult(name="app", done="every browser is signed out")


def _subjects(settings: Settings) -> RotationResult:
    try:
        with contextlib.closing(SubjectKeys(settings.home)) as keys:
            return RotationResult(name="subjects", done=f"{keys.rotate()} keys are kept to read and used no more")
    except sqlite3.Error as e:
        raise MisuseError(f"The keys of people cannot be written: {e}.", hint=f"Look at {settings.home / FILE}.") from e


def _checkpoint(settings: Settings) -> RotationResult:
    folder = AuditFolder(settings.home)
    for _ in SealLog(folder).replace_key():
        pass  # each step is durable before the next
    notes = [f"Give {folder.public_key} to whoever verifies, and to witnesses other than ours."]
    if settings.audit_witness and folder.checkpoint.exists():
        try:
            open_witness(folder, settings.audit_witness).send(folder.checkpoint.read_text(encoding="utf-8"))
        except (WorkbenchError, OSError) as e:
            notes.append(f"The witness does not have it yet, and gets it with the next checkpoint: {e}")
    return RotationResult(name="checkpoint", done="replaced", notes=tuple(notes))
