"""Ports of URLs that callers register are those of the setting."""

from __future__ import annotations

import pytest

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry.registration import check_registration
from workbench.registry.server import ServerSpec

SHIPPED = Settings().upstream_ports


def check(url: str, ports: tuple[str, ...] = SHIPPED) -> None:
    check_registration(ServerSpec(id="far", kind="url", url=url), local_allowed=True, ports=ports)


@pytest.mark.parametrize("port", [22, 23, 25, 53, 110, 139, 389, 445, 1023])
def test_ports_of_other_services_are_refused_with_the_setting(port: int) -> None:
    with pytest.raises(MisuseError, match=rf"port {port} is not allowed.*upstream_ports"):
        check(f"http://tools.example:{port}/mcp")


@pytest.mark.parametrize(
    "url",
    ["https://tools.example/mcp", "http://tools.example/mcp", "http://127.0.0.1:8931/mcp", "http://localhost:65535/"],
)
def test_the_usual_ports_and_those_of_programs_are_accepted(url: str) -> None:
    check(url)


def test_the_setting_narrows_them() -> None:
    check("https://tools.example/mcp", ("443",))
    with pytest.raises(MisuseError, match="port 8080 is not allowed"):
        check("https://tools.example:8080/mcp", ("443",))
