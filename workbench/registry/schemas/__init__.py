"""JSON Schemas of tools: repaired where their meaning is certain, compiled, and checked."""
