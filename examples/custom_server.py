"""Put a server of your own behind the gateway: list it in an `mcp.json` and call its tool.

`workbench up --config mcp.json` runs the servers of such a file once, `workbench add mcp.json` keeps them.
"""

import json
import sys
import tempfile
from pathlib import Path

import workbench

SERVER = Path(__file__).with_name("rates_server.py")

with tempfile.TemporaryDirectory() as folder:
    config = Path(folder, "mcp.json")
    config.write_text(json.dumps({"mcpServers": {"rates": {"command": sys.executable, "args": [str(SERVER)]}}}))
    with workbench.open(home=Path(folder, "home"), attach=False, servers="", config=config) as wb:
        for server in wb.servers():
            print("server", server.id, server.status)
        print("250 USD in EUR:", wb.call("rates.convert", amount=250, currency="USD").data)
        print("recorded:", wb.sql("select server, tool, outcome from tool_calls").to_dict("records"))
