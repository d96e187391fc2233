"""Local MCP servers. Each runs alone: `python servers/crm/server.py` (stdio) or `--http --port 9001`."""
