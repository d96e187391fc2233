"""Codes of JSON-RPC errors: those of JSON-RPC 2.0 and of MCP, and our own."""

from __future__ import annotations

from typing import Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

DENIED: Final = 403
THROTTLED: Final = 429
NOT_RECORDED: Final = 503
OVERLOADED: Final = 503
"""Codes of our own lie outside of what JSON-RPC reserves; these read like the HTTP statuses that they come with."""

HTTP_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    -32021: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""HTTP status of an error at 2026-07-28; other codes travel with 200."""
