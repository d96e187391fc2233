"""AWS Secrets Manager, through Amazon's own SDK: region and credentials are found the way every tool of AWS does."""

from __future__ import annotations

import importlib
import threading
from typing import Any, Final

from workbench.events import MissingPackageError
from workbench.secrets.sources import SecretNotFoundError

CURRENT: Final = "AWSCURRENT"
PENDING: Final = "AWSPENDING"
"""Labels of the version in force and, while a secret is rotated, of the one that follows it."""

_ABSENT = ("ResourceNotFoundException", "InvalidRequestException")  # the latter: it is marked for deletion


class SecretsManager:
    """Secrets of one account and region (`AWS_REGION`, `AWS_PROFILE`, roles, and `AWS_ENDPOINT_URL` where it is set).

    Raises:
        MisuseError: boto3 is not installed, or no region is known.
    """

    name = "aws"

    def __init__(self) -> None:
        try:
            self._boto3: Any = importlib.import_module("boto3")
            self._faults: Any = importlib.import_module("botocore.exceptions")
        except ImportError as e:
            raise MissingPackageError("boto3", "aws") from e
        self._client: Any = None
        self._making = threading.Lock()

    def read(self, name: str) -> tuple[str, str] | None:
        """The version that is labelled AWSCURRENT."""
        return self._version(name, CURRENT)

    def pending(self, name: str) -> str | None:
        """The version that is labelled AWSPENDING: the service knows it before the label AWSCURRENT moves to it."""
        found = self._version(name, PENDING)
        return found[0] if found else None

    def _version(self, name: str, stage: str) -> tuple[str, str] | None:
        faults = self._faults
        try:
            found = self._open().get_secret_value(SecretId=name, VersionStage=stage)
        except faults.ClientError as e:
            code = str(e.response.get("Error", {}).get("Code", "unknown"))
            if code in _ABSENT:
                return None
            raise SecretNotFoundError(
                f"AWS does not give the secret {name!r}: {code}.", hint=_HINTS.get(code, "")
            ) from None
        except faults.BotoCoreError as e:
            raise SecretNotFoundError(f"AWS cannot be asked for the secret {name!r}: {e}.") from None
        value = found.get("SecretString")
        if not isinstance(value, str) or not value:
            raise SecretNotFoundError(f"The secret {name!r} of AWS holds no text.")
        return value, str(found.get("VersionId", ""))

    def _open(self) -> Any:
        with self._making:  # making a client is not safe in several threads at once; using one is
            if self._client is None:
                config = importlib.import_module("botocore.config")
                bounds = config.Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
                self._client = self._boto3.client("secretsmanager", config=bounds)
            return self._client


_HINTS = {
    "AccessDeniedException": "The identity of this process needs secretsmanager:GetSecretValue.",
    "UnrecognizedClientException": "Check the credentials of AWS in this process's environment.",
}
