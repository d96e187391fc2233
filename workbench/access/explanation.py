"""Why a caller may or may not call a tool, as far as scopes go."""

from __future__ import annotations

from workbench.access.roles import Roles, covers
from workbench.events import Caller, Record, Tool


class Explanation(Record, frozen=True, kw_only=True):
    """Whether a caller's scopes suffice for a tool, and through what."""

    allowed: bool
    subject: str
    tool: str
    needed: tuple[str, ...]
    missing: tuple[str, ...]
    lines: tuple[str, ...]
    """One sentence per needed scope."""
    remedy: str = ""
    """How to grant what is missing; empty when nothing is, or when no role could grant it."""


def explain(roles: Roles, caller: Caller, tool: Tool) -> Explanation:
    """Scope by scope, and which role each comes through."""
    lines = []
    missing = tuple(s for s in tool.scopes if not caller.has(s))
    for scope in tool.scopes:
        grant = min((g for g in caller.scopes if covers(g, scope)), key=lambda g: (g != scope, g), default=None)
        by_role = roles.granting(caller.roles, scope)
        if grant is None and by_role is not None:
            lines.append(f"{scope}: role {by_role[0]} grants {by_role[1]}, but the credential is narrower")
        elif grant is None:
            lines.append(f"{scope}: not granted by {', '.join(caller.roles) or 'any role'}")
        else:
            where = f"through role {by_role[0]} ({by_role[1]})" if by_role else "by the credential itself"
            lines.append(f"{scope}: held as {grant}, {where}")
    if not tool.scopes:
        lines.append("the tool names no scope that it needs, so nobody may call it")
    return Explanation(
        allowed=bool(tool.scopes) and not missing,
        subject=caller.subject,
        tool=tool.qualified,
        needed=tool.scopes,
        missing=missing,
        lines=tuple(lines),
        remedy=_remedy(roles, caller, missing),
    )


def _remedy(roles: Roles, caller: Caller, missing: tuple[str, ...]) -> str:
    if not missing:
        return ""
    lacking = [scope for scope in missing if roles.granting(caller.roles, scope) is None]
    if not lacking:
        return "The roles suffice: make a credential that is not narrowed to other scopes."
    whose = caller.roles[0] if caller.roles else "a role"
    quoted = ", ".join(f'"{scope}"' for scope in lacking)
    write = "" if roles.path else "`workbench access roles --write` writes the roles to a file. "
    return f"{write}To grant it, add {quoted} to the scopes of {whose} in {roles.path or 'that file'}."
