"""Where copies of the record can be kept: a folder, or a bucket of an object store.

Objects are written once. That a name is taken is decided by the store itself (`If-None-Match: *`, RFC 9110 §13.1.2), so
that two platforms that were given the same place by mistake cannot write over each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from workbench.audit.format.folder import sync_folder
from workbench.events import MissingPackageError, MisuseError, UnreachableError, WorkbenchError

Content = bytes | Path

_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


class StoreConflictError(WorkbenchError):
    """An object of this name exists and holds something else: the store belongs to another record."""

    error_kind = "StoreConflict"


class SegmentStore(Protocol):
    """Objects by name; a name is written once."""

    def put(self, name: str, content: Content) -> None:
        """Store an object. One that exists with the same content is left alone.

        Raises:
            StoreConflictError: it exists with another content.
            UnreachableError: the store does not answer, or refuses.
        """

    def get(self, name: str) -> bytes | None:
        """An object; None when there is none."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, sorted."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there and the store lets go of it."""


def open_store(target: str) -> SegmentStore:
    """The store that the setting `audit_store` names: a folder, or `s3://bucket/prefix`.

    Raises:
        MisuseError: another scheme, or the package for it is missing.
    """
    if target.startswith(("s3://", "gs://", "az://")):
        return BucketStore(target)
    if "://" in target:
        raise MisuseError(f"{target!r} names no store.", hint="Expected a folder, or s3://bucket/prefix.")
    return FolderStore(Path(target).expanduser())


def open_bucket_files(scheme: str) -> Any:
    """Buckets as a file system (fsspec), for DuckDB.

    Args:
        scheme: s3, gs or az.

    Raises:
        MisuseError: the package for it is missing.
    """
    try:
        from obstore.fsspec import FsspecStore
    except ImportError as e:
        raise MissingPackageError(str(e.name), "catalog") from e
    made: Any = FsspecStore
    return made(scheme, client_options=_client_options(), retry_config=_RETRIES)


def _client_options() -> Any:
    return {"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")}


def _conflict(name: str) -> StoreConflictError:
    return StoreConflictError(
        f"{name} is in the store already and holds something else.", hint="Give every state folder a store of its own."
    )


class FolderStore:
    """A folder, e.g. of a network file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, content: Content) -> None:
        path = self._root / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        data = content.read_bytes() if isinstance(content, Path) else content
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, path)  # fails when the name is taken, unlike a rename
                sync_folder(path.parent)
            except FileExistsError:
                if path.read_bytes() != data:
                    raise _conflict(name) from None
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as e:
            raise UnreachableError(f"The store {self._root} cannot be written: {e}.") from e

    def get(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, prefix: str) -> list[str]:
        found = (path for path in (self._root / prefix).parent.rglob("*") if path.is_file())
        names = (path.relative_to(self._root).as_posix() for path in found if not path.name.startswith("."))
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)


class BucketStore:
    """A bucket of S3 (Amazon, MinIO, Ceph and others), Google or Azure. Credentials come from the environment.

    Args:
        url: e.g. `s3://bucket/prefix`; `AWS_ENDPOINT_URL` names another store than Amazon's.

    Raises:
        MisuseError: the URL cannot be meant, or the package obstore is missing.
    """

    def __init__(self, url: str) -> None:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as e:
            raise MissingPackageError("obstore", "store") from e
        try:
            self._store: Any = from_url(url, client_options=_client_options(), retry_config=_RETRIES)
        except (BaseError, ValueError) as e:
            raise MisuseError(f"{url!r} names no bucket: {e}.", hint="Expected s3://bucket/prefix.") from e

    def put(self, name: str, content: Content) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with _reachable(name):
                obstore.put(self._store, name, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            data = content.read_bytes() if isinstance(content, Path) else content
            if self.get(name) != data:
                raise _conflict(name) from None

    def get(self, name: str) -> bytes | None:
        import obstore

        try:
            with _reachable(name):
                return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def names(self, prefix: str) -> list[str]:
        import obstore

        with _reachable(prefix):
            return sorted(item["path"] for batch in obstore.list(self._store, prefix.rstrip("/")) for item in batch)

    def delete(self, name: str) -> None:
        import obstore
        from obstore.exceptions import PermissionDeniedError

        # what the store itself has locked goes when its time has come
        with contextlib.suppress(FileNotFoundError, PermissionDeniedError), _reachable(name):
            obstore.delete(self._store, name)


@contextlib.contextmanager
def _reachable(name: str) -> Iterator[None]:
    from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError

    try:
        yield
    except (AlreadyExistsError, FileNotFoundError, PermissionDeniedError):
        raise
    except BaseError as e:
        raise UnreachableError(f"The store cannot be used for {name}: {str(e).splitlines()[0]}.") from e


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
