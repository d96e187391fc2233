"""Launched servers as processes: their start, environment, output, and end."""
