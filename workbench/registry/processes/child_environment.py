"""What a launched server gets of our environment, and where its program is found."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from workbench.events import UnreachableError
from workbench.registry.server import ServerSpec
from workbench.secrets import remember_all

INHERITED: Final = frozenset((
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
    "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_BIN_HOME",
    # the way to the network
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY", "NODE_USE_ENV_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy",
    # whom to trust there
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO", "DENO_CERT", "DENO_TLS_CA_STORE", "CARGO_HTTP_CAINFO", "NODE_USE_SYSTEM_CA",
    # where launchers keep things
    "NVM_DIR", "NVM_BIN", "NVM_INC", "FNM_DIR", "FNM_MULTISHELL_PATH", "VOLTA_HOME", "N_PREFIX", "PNPM_HOME",
    "BUN_INSTALL", "DENO_DIR", "GOPATH", "GOBIN", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "CARGO_HOME",
    "RUSTUP_HOME", "JAVA_HOME", "PYENV_ROOT", "PIPX_HOME", "PIPX_BIN_DIR", "DOTNET_ROOT", "NUGET_PACKAGES",
    "PLAYWRIGHT_BROWSERS_PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY", "CONTAINER_HOST",
    # the same on Windows
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA",
    "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "USERPROFILE", "USERNAME", "HOMEDRIVE",
    "HOMEPATH",
))  # fmt: skip
"""Variables of ours that every child sees: who and where it is, how it reaches the network, whom it trusts there, and
where its launcher keeps things. Tokens and provider keys are never among them; a server that needs one gets it through
`env` in its own configuration, where a person wrote it down."""

INHERITED_PREFIXES: Final = ("NPM_CONFIG_", "UV_", "PIP_", "COREPACK_", "YARN_", "PNPM_CONFIG_", "BUN_CONFIG_")
"""Beginnings, in any case, of the variables that set package managers up: their registry, cache, proxy, certificates.
A password in the address of a registry is among them, and reaches the servers: without it none could be installed."""

_CREDENTIAL = re.compile(r"(?i)token|passw(?:or)?d|secret|_auth|api_?key|_email|_otp|publish|username")
"""Of those, what is for publishing packages, and never passed on."""

_USUAL_FOLDERS = (
    "~/.local/bin", "~/.cargo/bin", "~/.bun/bin", "~/.deno/bin", "~/.volta/bin", "~/.npm-global/bin", "~/go/bin",
    "/opt/homebrew/bin", "/usr/local/bin", "/home/linuxbrew/.linuxbrew/bin", "/snap/bin",
)  # fmt: skip
"""Where installers put launchers. A gateway that no shell has started does not have them on its PATH."""

_WHERE_FROM = {
    "npx": "It comes with Node.js (https://nodejs.org).",
    "node": "It comes with Node.js (https://nodejs.org).",
    "uvx": "It comes with uv (https://docs.astral.sh/uv).",
    "uv": "See https://docs.astral.sh/uv.",
    "docker": "See https://docs.docker.com/get-docker.",
    "bunx": "It comes with Bun (https://bun.sh).",
    "deno": "See https://deno.com.",
    "dnx": "It comes with the .NET SDK, from version 10 on.",
}


def inherits(name: str) -> bool:
    """Whether a launched server sees our variable of that name."""
    if name in INHERITED or (os.name == "nt" and name.upper() in INHERITED):
        return True
    # what follows the address of a registry is a credential for it: npm_config_//host/:_authToken
    return name.upper().startswith(INHERITED_PREFIXES) and "//" not in name and not _CREDENTIAL.search(name)


def environment(spec: ServerSpec, mark: Mapping[str, str], ours: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the child of `spec` sees: the inherited ones, its own, and `mark`, which its descendants carry too."""
    ours = os.environ if ours is None else ours
    found = {name: value for name, value in ours.items() if inherits(name)} | spec.env | dict(mark)
    remember_all({}, found.values())  # the passwords in the URLs of proxies, registries and databases
    return found


def find_program(name: str, env: dict[str, str]) -> str:
    """The path of the program `name`: on the PATH of `env`, else where installers put launchers.

    A folder that was not on the PATH is put at its end, in `env`, since launchers call their neighbours.

    Raises:
        UnreachableError: there is none.
    """
    if os.sep in name:
        return name
    if found := shutil.which(name, path=env.get("PATH")):
        return found
    for folder in (*(os.path.expanduser(usual) for usual in _USUAL_FOLDERS), str(Path(sys.executable).parent)):
        if found := shutil.which(name, path=folder):
            env["PATH"] = os.pathsep.join(part for part in (env.get("PATH", os.defpath), folder) if part)
            return found
    raise UnreachableError(
        f"The program {name!r} is not on the PATH.",
        hint=f"Install it, or give its full path as command. {_WHERE_FROM.get(name, '')}".rstrip(),
    )
