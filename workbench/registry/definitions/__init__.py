"""Definitions of tools: listing, names, pins, changes, and signs of poisoning."""
