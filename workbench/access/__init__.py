"""Who is calling: API keys, access tokens of OAuth, roles and their scopes."""

from workbench.access.api_keys import KeyInfo
from workbench.access.callers import Access
from workbench.access.explanation import Explanation
from workbench.access.roles import Role, Roles
from workbench.events import UnauthenticatedError

__all__ = ["Access", "Explanation", "KeyInfo", "Role", "Roles", "UnauthenticatedError"]
