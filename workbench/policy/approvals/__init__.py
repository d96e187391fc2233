"""Human approvals: what each is bound to, who decides, standing approvals, Slack."""
