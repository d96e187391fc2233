"""Rate limits, quotas and budgets, in one process or shared through Redis."""
