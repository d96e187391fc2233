"""May they: Rego decisions, rate limits and quotas, human approvals, redaction."""

from workbench.policy.approvals.approval import Approval, ApprovalRefusedError
from workbench.policy.approvals.approvals import Approvals
from workbench.policy.decisions import Policy
from workbench.policy.limits.rate_limits import RateLimits
from workbench.policy.redaction.redactor import Redactor

__all__ = ["Approval", "ApprovalRefusedError", "Approvals", "Policy", "RateLimits", "Redactor"]
