"""Routes that say how the platform is doing."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

import workbench
from workbench.api.route_helpers import answer, needs
from workbench.events import Caller
from workbench.platform.platform import Platform


def probes(platform: Platform) -> APIRouter:
    """`/health`, `/status` and `/metrics`."""
    router = APIRouter(tags=["platform"])
    sees_servers, sees_metrics = needs(platform, "servers:read"), needs(platform, "metrics:read")

    @router.get("/health")
    def health() -> Response:
        """Whether calls can be answered: 200, or 503. Says nothing about servers or tenants."""
        ok = not (platform.audit.failed or platform.access.blind)
        return answer({"status": "ok" if ok else "failing", "version": workbench.__version__}, 200 if ok else 503)

    @router.get("/status")
    def status(caller: Caller = sees_servers) -> Response:
        """Version, servers and runs of your tenant; for the tenant that runs the platform also its own state."""
        return answer(platform.status(caller))

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics(caller: Caller = sees_metrics) -> Response:
        """Counters and histograms for Prometheus, of your tenant; for the tenant that runs the platform, of all."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return Response(platform.metrics(caller), media_type=CONTENT_TYPE_LATEST)

    return router
