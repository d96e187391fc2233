"""May they: Rego decisions, rate limits and quotas, human approvals, redaction."""

from workbench.policy.approval import Approval, Refused
from workbench.policy.approvals import Approvals
from workbench.policy.decisions import Policy
from workbench.policy.limits import RateLimits
from workbench.policy.redaction import Redactor

__all__ = ["Approval", "Approvals", "Policy", "RateLimits", "Redactor", "Refused"]
