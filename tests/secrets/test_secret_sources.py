"""The environment and a folder of files, and what a folder refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.secrets import SecretNotFoundError, SecretResolver


def put(folder: Path, name: str, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.fixture
def folder(settings: Settings) -> Path:
    return settings.home / "secrets"


def test_the_first_source_of_the_settings_that_has_it_gives_it(settings: Settings, folder: Path) -> None:
    put(folder, "TOKEN", "of the file\n")
    put(folder, "other", "only a file")
    env = {"TOKEN": "of the environment"}
    assert SecretResolver(settings, env=env).read("secret:TOKEN") == "of the environment"
    assert SecretResolver(settings.replace(secrets=("file", "env")), env=env).read("secret:TOKEN") == "of the file"
    assert SecretResolver(settings, env=env).read("secret:file:TOKEN") == "of the file"
    assert SecretResolver(settings, env=env).read("<${secret:other}>") == "<only a file>"
    assert SecretResolver(settings, env=env).read("no reference at all") == "no reference at all"


def test_a_secret_that_nobody_has_is_named_in_the_refusal(settings: Settings) -> None:
    with pytest.raises(SecretNotFoundError, match="secret:nowhere' is in none of env, file"):
        SecretResolver(settings, env={}).read("secret:nowhere")
    with pytest.raises(SecretNotFoundError, match="no source at all"):
        SecretResolver(settings.replace(secrets=()), env={}).read("secret:nowhere")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_file_that_others_may_read_is_refused(settings: Settings, folder: Path, mode: int) -> None:
    put(folder, "token", "canary-of-the-file", mode)
    with pytest.raises(SecretNotFoundError, match="others may read it") as refused:
        SecretResolver(settings, env={}).read("secret:token")
    assert "canary" not in str(refused.value)


def test_a_file_of_a_source_before_that_cannot_be_trusted_is_not_passed_over(settings: Settings, folder: Path) -> None:
    put(folder, "TOKEN", "canary", 0o644)
    with pytest.raises(SecretNotFoundError, match="others may read"):
        SecretResolver(settings.replace(secrets=("file", "env")), env={"TOKEN": "x"}).read("secret:TOKEN")


def test_what_is_no_file_of_text_is_refused(settings: Settings, folder: Path) -> None:
    (folder / "dir").mkdir(parents=True)
    put(folder, "binary", b"\xff\xfe\x00canary")
    put(folder, "huge", "x" * ((64 << 10) + 1))
    put(folder, "empty", "\n")
    os.mkfifo(folder / "fifo", 0o600)
    secrets = SecretResolver(settings, env={})
    for name, why in {
        "dir": "no file",
        "binary": "no UTF-8",
        "huge": "larger",
        "empty": "none of",
        "fifo": "no file",
    }.items():
        with pytest.raises(SecretNotFoundError, match=why):
            secrets.read(f"secret:{name}")
    with pytest.raises(SecretNotFoundError, match="none of"):
        secrets.read("secret:binary/below")


def test_a_field_of_a_json_object(settings: Settings, folder: Path) -> None:
    put(folder, "crm", '{"user": "robot", "password": "s3cret", "port": 5432, "none": null}')
    secrets = SecretResolver(settings, env={})
    assert secrets.read("secret:crm#password") == "s3cret"
    assert secrets.read("${secret:crm#user}:${secret:crm#port}") == "robot:5432"
    for field in ("absent", "none"):
        with pytest.raises(SecretNotFoundError, match="no JSON object"):
            secrets.read(f"secret:crm#{field}")
    put(folder, "text", "canary-text")
    with pytest.raises(SecretNotFoundError) as refused:
        secrets.read("secret:text#password")
    assert "canary" not in str(refused.value)


def test_a_source_that_there_is_not_is_refused(settings: Settings) -> None:
    with pytest.raises(MisuseError, match="vault"):
        SecretResolver(settings.replace(secrets=("vault",)))


def test_all_rooms_of_a_process_share_what_was_read(settings: Settings) -> None:
    assert SecretResolver.of(settings) is SecretResolver.of(settings.replace(port="1"))
    assert SecretResolver.of(settings) is not SecretResolver.of(settings.replace(secrets=("file",)))


def test_a_variable_that_is_a_reference_has_the_value_of_the_secret(settings: Settings, folder: Path) -> None:
    put(folder, "openai", "sk-canary-canary")
    env = SecretResolver(
        settings, env={"OPENAI_API_KEY": "secret:openai", "PLAIN": "x", "LOST": "secret:lost"}
    ).environment()
    assert (env["OPENAI_API_KEY"], env["PLAIN"], env.get("ABSENT", "-")) == ("sk-canary-canary", "x", "-")
    assert "LOST" in env
    assert len(env) == 3
    with pytest.raises(SecretNotFoundError):
        env.get("LOST")
