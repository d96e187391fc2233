"""Checking the record against its seals and checkpoints, and proofs for single calls."""
