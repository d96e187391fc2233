"""Who is calling: API keys, roles and their scopes."""

from workbench.access.callers import Access, Explanation
from workbench.access.keys import KeyInfo
from workbench.access.roles import Role, Roles
from workbench.events import Unauthenticated

__all__ = ["Access", "Explanation", "KeyInfo", "Role", "Roles", "Unauthenticated"]
