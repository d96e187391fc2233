"""AWS Secrets Manager over its wire protocol, as moto's server speaks it, with Amazon's own SDK."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import pytest

from workbench.config import Settings
from workbench.secrets import SecretNotFoundError, SecretResolver

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


@pytest.fixture
def secrets(settings: Settings, ticks: Any) -> SecretResolver:
    return SecretResolver(settings.replace(secrets=("env", "aws")), env={}, ticks=ticks)


async def test_a_secret_is_read_by_name_by_field_and_by_arn(aws: Any, secrets: SecretResolver) -> None:
    aws.create_secret(Name="prod/token", SecretString="canary-aws-1")
    made = aws.create_secret(Name="prod/crm", SecretString='{"username": "robot", "password": "canary-aws-2"}')
    assert await secrets.fetch("Bearer ${secret:prod/token}") == "Bearer canary-aws-1"
    assert await secrets.fetch("secret:aws:prod/crm#password") == "canary-aws-2"
    assert await secrets.fetch(f"secret:aws:{made['ARN']}#username") == "robot"
    assert {o.source for o in secrets.where()} == {"aws"}


async def test_what_aws_does_not_have_or_marked_for_deletion_is_no_secret(aws: Any, secrets: SecretResolver) -> None:
    with pytest.raises(SecretNotFoundError, match="none of env, aws"):
        await secrets.fetch("secret:prod/absent")
    aws.create_secret(Name="prod/gone", SecretString="canary-aws-3")
    aws.delete_secret(SecretId="prod/gone")
    with pytest.raises(SecretNotFoundError, match="none of env, aws"):
        await secrets.fetch("secret:prod/gone")
    aws.create_secret(Name="prod/bytes", SecretBinary=b"canary-aws-4")
    with pytest.raises(SecretNotFoundError, match="holds no text"):
        await secrets.fetch("secret:prod/bytes")


async def test_rotation_current_pending_and_current_again(aws: Any, secrets: SecretResolver, ticks: Any) -> None:
    aws.create_secret(Name="prod/token", SecretString="canary-aws-old")
    assert await secrets.fetch("secret:prod/token") == "canary-aws-old"
    # what a rotation function does: a pending version, which the service learns, and then the label moves
    version = str(uuid.uuid4())
    aws.put_secret_value(
        SecretId="prod/token", ClientRequestToken=version, SecretString="canary-aws-new", VersionStages=["AWSPENDING"]
    )
    ticks.now = 300
    assert await secrets.fetch("secret:prod/token") == "canary-aws-old"
    assert await secrets.renew("secret:prod/token", "canary-aws-old") == "canary-aws-new"
    old = aws.get_secret_value(SecretId="prod/token")["VersionId"]
    aws.update_secret_version_stage(
        SecretId="prod/token", VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=old
    )
    ticks.now = 700
    assert await secrets.fetch("secret:prod/token") == "canary-aws-new"


async def test_aws_that_does_not_answer_is_borne_for_a_while(
    aws: Any, secrets: SecretResolver, ticks: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.create_secret(Name="prod/token", SecretString="canary-aws-5")
    assert await secrets.fetch("secret:prod/token") == "canary-aws-5"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    fresh = SecretResolver(settings.replace(secrets=("aws",)), ticks=ticks)
    with pytest.raises(SecretNotFoundError, match="AWS cannot be asked"):
        await fresh.fetch("secret:prod/token")
    secrets._sources["aws"]._client = None  # type: ignore[attr-defined]
    ticks.now = 301
    assert await secrets.fetch("secret:prod/token") == "canary-aws-5"
    ticks.now = 3600
    with pytest.raises(SecretNotFoundError, match="AWS cannot be asked"):
        await secrets.fetch("secret:prod/token")


def test_without_the_package_the_source_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SecretNotFoundError, match="package boto3"):
        SecretResolver(settings).read("secret:aws:x")
