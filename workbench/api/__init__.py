"""The management API: REST over the same rooms, with the same tokens and rules as everything else.

Documented at `/docs` from the generated OpenAPI document. Holds no logic of its own: a route turns a request into a
method of `Platform` and the answer into JSON. Every error body is `{"error": {"kind", "message", "hint", …}}`.
"""

from __future__ import annotations

from workbench.api.application import build_api, build_app

__all__ = ["build_api", "build_app"]
