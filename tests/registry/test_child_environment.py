"""What of our environment a launched server sees: how it reaches the network and its packages, and no credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.events import UnreachableError
from workbench.registry import ServerSpec
from workbench.registry.processes.child_environment import environment, find_program, inherits
from workbench.secrets import hide

SEEN = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "npm_config_cafile",
    "npm_config_https_proxy",
    "NPM_CONFIG_USERCONFIG",
    "npm_config_cache",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_CACHE_DIR",
    "UV_SYSTEM_CERTS",
    "UV_PYTHON",
    "UV_OFFLINE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CERT",
    "PIP_PROXY",
    "PIP_TRUSTED_HOST",
    "PIP_CONFIG_FILE",
    "NVM_DIR",
    "PNPM_HOME",
    "DENO_DIR",
    "CARGO_HOME",
    "GOPROXY",
    "DOCKER_HOST",
    "PLAYWRIGHT_BROWSERS_PATH",
]

UNSEEN = [
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "WORKBENCH_TOKEN",
    "WORKBENCH_DATABASE_URL",
    "WORKBENCH_HOME",
    "MCP_SERVER_SECRET",
    "DATABASE_URL",
    "SLACK_BOT_TOKEN",
    "NPM_TOKEN",
    "npm_config__auth",
    "npm_config__authToken",
    "npm_config__password",
    "npm_config_//registry.example/:_authToken",
    "NPM_CONFIG_OTP",
    "UV_PUBLISH_TOKEN",
    "UV_PUBLISH_PASSWORD",
    "UV_INDEX_INTERNAL_PASSWORD",
    "PIP_PASSWORD",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "LD_PRELOAD",
    "SSH_AUTH_SOCK",
    "MY_HTTP_PROXY",
    "UVX_THING",
]


@pytest.mark.parametrize("name", SEEN)
def test_a_server_sees(name: str) -> None:
    assert inherits(name)


@pytest.mark.parametrize("name", UNSEEN)
def test_a_server_does_not_see(name: str) -> None:
    assert not inherits(name)


def test_its_own_variables_come_first_and_the_mark_last() -> None:
    spec = ServerSpec(id="a", kind="command", env={"HTTP_PROXY": "", "OPENAI_API_KEY": "mine", "MARK": "forged"})
    ours = dict.fromkeys((*SEEN, *UNSEEN), "ours")
    found = environment(spec, {"MARK": "true"}, ours)
    assert found == {**dict.fromkeys(SEEN, "ours"), "HTTP_PROXY": "", "OPENAI_API_KEY": "mine", "MARK": "true"}


def test_the_password_of_a_proxy_reaches_the_server_and_nobody_else() -> None:
    proxy = "http://ada:correct-horse@proxy.example:3128"
    found = environment(ServerSpec(id="a", kind="command"), {}, {"HTTPS_PROXY": proxy})
    assert found == {"HTTPS_PROXY": proxy}
    assert hide(f"cannot connect to {proxy}") == "cannot connect to http://ada:<secret>@proxy.example:3128"


def test_a_launcher_that_no_shell_put_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".local" / "bin"
    folder.mkdir(parents=True)
    (folder / "a-launcher").write_text("#!/bin/sh\n")
    (folder / "a-launcher").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    env = {"PATH": "/usr/bin"}
    assert find_program("a-launcher", env) == str(folder / "a-launcher")
    assert env == {"PATH": f"/usr/bin:{folder}"}
    assert find_program("./a-launcher", env) == "./a-launcher"
    with pytest.raises(UnreachableError, match="'no-such-launcher' is not on the PATH"):
        find_program("no-such-launcher", env)


def test_where_a_launcher_comes_from_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UnreachableError, match=r"It comes with the \.NET SDK"):
        find_program("dnx", {"PATH": str(tmp_path)})
