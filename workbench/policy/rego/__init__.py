"""Rego decisions: the embedded engine, a remote OPA, their input and their answers."""
