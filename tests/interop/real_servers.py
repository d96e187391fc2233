"""Servers that people run: how their own pages say to start them, one call of each, and what has to come back.

Everything is as it stands in the file of a client, versions pinned. `@NAME@` stands for what this machine provides: see
`real_surroundings`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class RealServer:
    """One server.

    Args:
        name: its name in the `mcp.json`.
        entry: what stands there.
        tool: the tool that is called, as the server names it.
        arguments: of the call.
        answers: a pattern of what the server answers when it works.
        refuses: a pattern of the server's own error, where the call needs an account or a host that is not reachable.
        needs: names of the surroundings without which it is left out.
        made_of: what runs behind the launcher, where that is neither Node nor Python.
        remark: for the table.
    """

    name: str
    entry: dict[str, Any]
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)
    answers: str = ""
    refuses: str = ""
    needs: tuple[str, ...] = ()
    made_of: str = ""
    remark: str = ""

    @property
    def package(self) -> str:
        """What its launcher is told to fetch, with the version."""
        pinned = re.compile(r"^(@[\w.-]+/)?[\w.-]+(@|==)\d")
        return next(str(part) for part in self.entry["args"] if pinned.match(str(part)))

    def fits(self, failed: bool, text: str) -> bool:
        """Whether that is what was to come back."""
        pattern = self.refuses or self.answers
        return (bool(self.refuses) or not failed) and re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def npx(*args: str, **env: str) -> dict[str, Any]:
    """An entry as pages of npm packages show it."""
    return {"command": "npx", "args": ["-y", *args], **({"env": env} if env else {})}


def uvx(*args: str, **env: str) -> dict[str, Any]:
    """An entry as pages of PyPI packages show it."""
    return {"command": "uvx", "args": [*args], **({"env": env} if env else {})}


NO_NETWORK: Final = (
    r"fetch failed|ENOTFOUND|EAI_AGAIN|getaddrinfo|name resolution|name or service not known|connect|network|dns|"
    r"resolve|unreachable|timed? ?out"
)
"""How servers say that they cannot reach a host."""

SERVERS: Final = (
    # --- the reference servers
    RealServer(
        "everything",
        npx("@modelcontextprotocol/server-everything@2026.8.31"),
        "get-sum",
        {"a": 19, "b": 23},
        answers=r"\b42\b",
    ),
    RealServer(
        "filesystem",
        npx("@modelcontextprotocol/server-filesystem@2026.8.31", "@FOLDER@"),
        "read_text_file",
        {"path": "@FOLDER@/note.txt"},
        answers="the cellar door is green",
    ),
    RealServer(
        "memory",
        npx("@modelcontextprotocol/server-memory@2026.8.31", MEMORY_FILE_PATH="@FOLDER@/memory.jsonl"),
        "create_entities",
        {"entities": [{"name": "Cellar", "entityType": "place", "observations": ["has a green door"]}]},
        answers="green door",
    ),
    RealServer(
        "sequential-thinking",
        npx("@modelcontextprotocol/server-sequential-thinking@2026.8.31"),
        "sequentialthinking",
        {"thought": "Count the doors.", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1},
        answers="thoughtHistoryLength",
    ),
    RealServer(
        "fetch",
        uvx("mcp-server-fetch@2026.10.24"),
        "fetch",
        {"url": "https://www.example.com/"},
        refuses=r"failed to fetch.*(" + NO_NETWORK + ")",
    ),
    RealServer(
        "git",
        uvx("mcp-server-git@2026.10.19", "--repository", "@REPOSITORY@"),
        "git_log",
        {"repo_path": "@REPOSITORY@"},
        answers="Paint the cellar door",
    ),
    RealServer(
        "time",
        uvx("mcp-server-time@2026.10.19", "--local-timezone=Europe/Berlin"),
        "convert_time",
        {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "Europe/Berlin"},
        answers="Asia/Tokyo",
    ),
    RealServer(
        "sqlite",
        uvx("--with", "mcp<2", "mcp-server-sqlite@2025.4.25", "--db-path", "@FOLDER@/test.db"),
        "read_query",
        {"query": "SELECT 19 + 23 AS answer"},
        answers=r"\b42\b",
        remark="ends at its start with version 2 of its library, which it does not exclude: hence `--with 'mcp<2'`",
    ),
    # --- a browser
    RealServer(
        "playwright",
        npx("@playwright/mcp@0.0.83", "--headless", "--isolated", "--no-sandbox", "--executable-path", "@CHROMIUM@"),
        "browser_navigate",
        {"url": "@PAGE@"},
        answers="The cellar door",
        needs=("CHROMIUM",),
    ),
    RealServer(
        "chrome-devtools",
        npx(
            "chrome-devtools-mcp@1.11.0",
            "--headless",
            "--isolated",
            "--executablePath=@CHROMIUM@",
            "--chromeArg=--no-sandbox",
        ),
        "new_page",
        {"url": "@PAGE@"},
        answers=r"127\.0\.0\.1",
        needs=("CHROMIUM",),
    ),
    # --- accounts and hosts that are not there
    RealServer(
        "context7",
        npx("@upstash/context7-mcp@4.1.1"),
        "resolve-library-id",
        {"libraryName": "react", "query": "state"},
        refuses="error",
    ),
    RealServer(
        "github",
        npx("@modelcontextprotocol/server-github@2025.4.8", GITHUB_PERSONAL_ACCESS_TOKEN="<YOUR_TOKEN>"),
        "search_repositories",
        {"query": "cellar"},
        refuses=NO_NETWORK,
    ),
    RealServer(
        "notion",
        npx("@notionhq/notion-mcp-server@2.5.2", NOTION_TOKEN="ntn_****"),
        "API-get-self",
        refuses=NO_NETWORK,
    ),
    RealServer(
        "duckduckgo",
        uvx("duckduckgo-mcp-server@0.7.0"),
        "search",
        {"query": "cellar doors"},
        refuses=NO_NETWORK + "|no results|error",
    ),
    RealServer(
        "firecrawl",
        npx("firecrawl-mcp@3.26.0", FIRECRAWL_API_KEY="fc-YOUR_API_KEY"),
        "firecrawl_scrape",
        {"url": "https://www.example.com/"},
        refuses=NO_NETWORK + "|error",
    ),
    RealServer(
        "brave-search",
        npx("@brave/brave-search-mcp-server@2.1.4", BRAVE_API_KEY="YOUR_API_KEY_HERE"),
        "brave_web_search",
        {"query": "cellar doors"},
        refuses=NO_NETWORK,
    ),
    RealServer(
        "arxiv",
        uvx("arxiv-mcp-server@0.8.2", "--storage-path", "@FOLDER@/papers"),
        "search_papers",
        {"query": "doors"},
        refuses=NO_NETWORK + "|error",
    ),
    # --- files
    RealServer(
        "excel",
        uvx("excel-mcp-server@2.2.2", "stdio"),
        "describe_workbook",
        {"path": "@FOLDER@/none.xlsx"},
        refuses="not found|no such|does not exist|outside|not allowed|EXCEL",
    ),
    RealServer(
        "excel-negokaz",
        npx("--package", "@negokaz/excel-mcp-server@0.12.0", "excel-mcp-server", EXCEL_MCP_PAGING_CELLS_LIMIT="4000"),
        "excel_describe_sheets",
        {"fileAbsolutePath": "@WORKBOOK@"},
        answers="Doors",
        made_of="Go",
    ),
    RealServer(
        "markitdown",
        uvx("markitdown-mcp@0.0.1a8"),
        "convert_to_markdown",
        {"uri": "file://@FOLDER@/page.html"},
        answers="The cellar door",
    ),
    RealServer(
        "docling-rs",
        uvx("docling-rs-mcp@2.52.7"),
        "list_input_formats",
        answers="docx",
        made_of="Rust",
    ),
    RealServer(
        "calculator",
        uvx("mcp-server-calculator@0.2.1"),
        "calculate",
        {"expression": "19 + 23"},
        answers=r"\b42\b",
    ),
    # --- databases and what is run
    RealServer(
        "mongodb",
        npx("mongodb-mcp-server@3.0.4", "--readOnly", MDB_MCP_CONNECTION_STRING="@MONGODB@"),
        "list-databases",
        {"connectionId": "preconfigured"},
        answers="database",
        needs=("MONGODB",),
    ),
    RealServer(
        "mysql",
        npx(
            "@benborla29/mcp-server-mysql@2.0.9",
            MYSQL_HOST="127.0.0.1",
            MYSQL_PORT="@MYSQL_PORT@",
            MYSQL_USER="root",
            MYSQL_PASS="",
            MYSQL_DB="test",
        ),
        "mysql_query",
        {"sql": "SELECT 19 + 23 AS answer"},
        answers="@MYSQL_ANSWERS@",
        refuses="@MYSQL_REFUSES@",
    ),
    RealServer(
        "postgres",
        npx("@modelcontextprotocol/server-postgres@0.6.2", "@POSTGRES@"),
        "query",
        {"sql": "SELECT 19 + 23 AS answer"},
        answers=r"\b42\b",
        needs=("POSTGRES",),
    ),
    RealServer(
        "motherduck",
        uvx("mcp-server-motherduck@1.1.0", "--db-path", ":memory:", "--read-write"),
        "execute_query",
        {"sql": "SELECT 19 + 23 AS answer"},
        answers=r"\b42\b",
    ),
    RealServer(
        "redis",
        uvx("--from", "redis-mcp-server@0.5.1", "redis-mcp-server", "--url", "redis://127.0.0.1:1/0"),
        "get",
        {"key": "door"},
        refuses=NO_NETWORK,
    ),
    RealServer(
        "grafana",
        uvx("mcp-grafana@2.1.1", GRAFANA_URL="http://127.0.0.1:1", GRAFANA_SERVICE_ACCOUNT_TOKEN="<your token>"),
        "list_datasources",
        refuses=NO_NETWORK,
        made_of="Go",
    ),
    RealServer(
        "kubernetes",
        npx("kubernetes-mcp-server@0.0.67", "--kubeconfig", "@KUBECONFIG@"),
        "namespaces_list",
        refuses=NO_NETWORK,
        made_of="Go",
    ),
    RealServer(
        "desktop-commander",
        npx("@wonderwhy-er/desktop-commander@0.2.52"),
        "list_sessions",
        answers="session",
    ),
    RealServer(
        "chart",
        npx("@antv/mcp-server-chart@0.9.10"),
        "generate_pie_chart",
        {"data": [{"category": "green", "value": 1}]},
        refuses=NO_NETWORK,
    ),
)
