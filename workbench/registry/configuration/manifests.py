"""What a `server.json` of the MCP registry, or the manifest of a bundle, says about starting a server."""

from __future__ import annotations

import re
from typing import Any, Final

from workbench.registry.configuration.variables import EntryError

_RUNNERS: Final = {
    # registry → how a package of it is started: the program, arguments before it, and what joins name and version
    "npm": ("npx", ("-y",), "@"),
    "pypi": ("uvx", (), "=="),
    "oci": ("docker", ("run", "-i", "--rm"), ":"),
    "docker": ("docker", ("run", "-i", "--rm"), ":"),
    "nuget": ("dnx", ("--yes",), "@"),
}
PACKAGE_NAME: Final = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9._/-]*(?:\[[A-Za-z0-9,._-]+\])?")
"""No switch, no path, no address: what a runner of packages takes for a package of its registry."""
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


def package_entry(registry: str, name: str, version: str = "") -> dict[str, Any]:
    """The entry that runs a package.

    Args:
        registry: `npm`, `pypi`, `oci` or `nuget`.
        name: of the package.
        version: empty takes the newest.

    Raises:
        EntryError: there is no way to run packages of that registry, or the name or version is none.
    """
    if registry not in _RUNNERS:
        raise EntryError(f"packages of {registry[:40]!r} cannot be run", hint=f"Known are {', '.join(_RUNNERS)}.")
    if not PACKAGE_NAME.fullmatch(name) or ".." in name.split("/") or (version and not _VERSION.fullmatch(version)):
        raise EntryError(f"{name[:80]!r} {version[:40]} is no package", hint="Expected a name such as npm:@scope/name.")
    program, before, joint = _RUNNERS[registry]
    if registry == "pypi" and "[" in name:
        plain = name.partition("[")[0]
        return {"command": program, "args": ["--from", name + (joint + version if version else ""), plain]}
    return {"command": program, "args": [*before, name + (joint + version if version else "")]}


def manifest_entry(manifest: dict[str, Any], notices: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The entry that a manifest describes, and the inputs that it asks for.

    Raises:
        EntryError: there is nothing in it that can be started or reached.
    """
    if isinstance(manifest.get("server"), dict):
        return _bundle(manifest, manifest["server"])
    inputs: dict[str, dict[str, Any]] = {}
    packages, remotes = (_objects(manifest.get(key)) for key in ("packages", "remotes"))
    entry: dict[str, Any] | None = None
    refused = EntryError("it names neither a package nor a remote", hint="Expected 'packages' or 'remotes'.")
    for package in packages:
        try:
            entry = _package(package, inputs)
            break
        except EntryError as e:
            refused = e
    if entry is None and remotes:
        entry = _remote(remotes[0], inputs)
    if entry is None:
        raise refused
    if len(packages) + len(remotes) > 1:
        chosen = entry.get("url") or " ".join([entry["command"], *map(str, entry["args"])])
        notices.append(f"Of {len(packages) + len(remotes)} ways to reach it, this one was taken: {chosen}.")
    title = manifest.get("title")
    entry["title"] = title if isinstance(title, str) else manifest.get("name", "")
    entry["description"] = manifest.get("description", "")
    return entry, inputs


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _package(package: dict[str, Any], inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    registry = _text(package.get("registryType") or package.get("registry_type") or package.get("registry_name"))
    name = _text(package.get("identifier") or package.get("name"))
    version = _text(package.get("version"))
    if registry in ("oci", "docker") and ":" in name.rsplit("/", 1)[-1]:
        name, _, version = name.rpartition(":")
    entry = package_entry(registry, name, version)
    before = _arguments(package.get("runtimeArguments") or package.get("runtime_arguments"), inputs)
    after = _arguments(package.get("packageArguments") or package.get("package_arguments"), inputs)
    env = _named(package.get("environmentVariables") or package.get("environment_variables"), inputs)
    if registry in ("oci", "docker"):
        before += [word for variable in env for word in ("-e", variable)]
    transport = package.get("transport")
    if isinstance(transport, dict) and transport.get("type") not in (None, "stdio"):
        raise EntryError("its package is a server over HTTP", hint="Start it yourself, and configure its URL.")
    *start, what = entry["args"]
    start = [word for word in start if word not in before] if before else start
    return {"command": entry["command"], "args": [*start, *before, what, *after], "env": env}


def _arguments(value: Any, inputs: dict[str, dict[str, Any]]) -> list[str]:
    words: list[str] = []
    for one in _objects(value):
        text = _value(one, _text(one.get("valueHint") or one.get("value_hint") or one.get("name")).lstrip("-"), inputs)
        if one.get("type") == "named":
            words += [_text(one.get("name")), *([text] if text else [])]
        elif text:
            words.append(text)
    return [word for word in words if word]


def _named(value: Any, inputs: dict[str, dict[str, Any]]) -> dict[str, str]:
    found = {}
    for one in _objects(value):
        if (name := _text(one.get("name"))) and (text := _value(one, name, inputs)):
            found[name] = text
    return found


def _value(one: dict[str, Any], name: str, inputs: dict[str, dict[str, Any]]) -> str:
    """The value of an argument, a variable or a header; what a person has to give becomes an input."""
    if text := _text(one.get("value")):
        variables = one.get("variables")
        return _templated(text, variables if isinstance(variables, dict) else {}, inputs)
    default = one.get("default")
    if not one.get("isRequired", one.get("is_required")) and default is None:
        return ""
    if isinstance(default, str) and not one.get("isSecret", one.get("is_secret")):
        return default
    if not name:
        return ""
    inputs[name] = {"description": one.get("description"), "password": bool(one.get("isSecret", one.get("is_secret")))}
    return f"${{input:{name}}}"


def _templated(text: str, variables: dict[str, Any], inputs: dict[str, dict[str, Any]]) -> str:
    def fill(match: re.Match[str]) -> str:
        known = variables.get(match[1])
        if not isinstance(known, dict):
            return match[0]
        return _value({"isRequired": True, **known}, match[1], inputs)

    return re.sub(r"(?<!\$)\{([A-Za-z0-9_.-]+)\}", fill, text)


def _remote(remote: dict[str, Any], inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    variables = remote.get("variables")
    url = _templated(_text(remote.get("url")), variables if isinstance(variables, dict) else {}, inputs)
    kind = remote.get("type") or remote.get("transport_type") or "http"
    return {"type": kind, "url": url, "headers": _named(remote.get("headers"), inputs), "args": []}


def _bundle(manifest: dict[str, Any], server: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    started = server.get("mcp_config")
    if not isinstance(started, dict):
        raise EntryError("the manifest has no 'mcp_config'", hint="Expected server.mcp_config with a command.")
    asked = manifest.get("user_config")
    inputs = {
        str(key): {**one, "password": bool(one.get("sensitive"))}
        for key, one in (asked.items() if isinstance(asked, dict) else ())
        if isinstance(one, dict)
    }
    entry = {key: value for key, value in started.items() if key != "platform_overrides"}
    entry["title"] = manifest.get("display_name") or manifest.get("name", "")
    entry["description"] = manifest.get("description", "")
    return entry, inputs
