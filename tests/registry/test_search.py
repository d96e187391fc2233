"""Tools are found by words and by meaning, fast, and without a network."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.registry.conftest import tool
from workbench import embeddings
from workbench.events import Tool, UnreachableError
from workbench.registry import ServerSpec
from workbench.registry.definitions.listing import read_definitions
from workbench.registry.tool_search import Embeddings, ToolIndex, words

CATALOGUE = Path(os.environ.get("LIVEMCP_TOOLS", "livemcp_tools.json"))
"""Where `tools.json` of the public LiveMCPBench catalogue is: 70 servers, 527 tools (Apache-2.0), data of others."""


def made(server: str, *definitions: dict[str, Any]) -> list[Tool]:
    return read_definitions(ServerSpec(id=server, kind="url"), list(definitions)).tools


COMPANY = [
    *made(
        "crm",
        tool("search_customers", "Find customers by name, email or company."),
        tool("get_customer", "One customer with account status and plan."),
    ),
    *made(
        "payments",
        tool("list_invoices", "Invoices of a customer, newest first.", title="Invoices"),
        tool("list_payments", "Payments received from a customer, failed ones included."),
        tool("refund_payment", "Give money back to a customer."),
    ),
    *made("calendar", tool("list_meetings", "Meetings of a person in a period.")),
    *made(
        "files",
        {
            "name": "read",
            "description": "Contents.",
            "inputSchema": {"properties": {"zebra_path": {"description": "where the stripes are"}, "odd": True}},
        },
    ),
]


@pytest.fixture(scope="module")
def index() -> ToolIndex:
    return ToolIndex().updated(COMPANY)


def best(index: ToolIndex, query: str, **more: Any) -> str:
    return index.search(query, **more)[0][0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("invoice", "payments.list_invoices"),
        ("INVOICES of John", "payments.list_invoices"),
        ("list_invoices", "payments.list_invoices"),
        ("listInvoices", "payments.list_invoices"),
        ("who is the client with this e-mail address", "crm.search_customers"),
        ("appointments next week", "calendar.list_meetings"),
        ("reimburse the buyer", "payments.refund_payment"),
        ("zebra", "files.read"),
        ("stripes", "files.read"),
    ],
)
def test_a_tool_is_found_by_its_words_or_by_what_is_meant(index: ToolIndex, query: str, expected: str) -> None:
    assert best(index, query) == expected


def test_scores_fall_and_stay_between_zero_and_one(index: ToolIndex) -> None:
    scores = [score for _, score in index.search("payments of a customer", limit=50)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < s <= 1 for s in scores)
    assert len(index.search("customer", limit=2)) == 2


def test_nothing_is_found_where_nothing_is_asked_or_allowed(index: ToolIndex) -> None:
    assert index.search("") == []
    assert index.search("   ") == []
    assert index.search("invoice", limit=0) == []
    assert index.search("invoice", among=[]) == []
    assert ToolIndex().search("invoice") == []
    assert ToolIndex().updated([]).search("invoice") == []
    assert [name for name, _ in index.search("invoice", among=["crm.get_customer"])] in ([], ["crm.get_customer"])


def test_an_index_is_brought_up_to_date_without_starting_over(index: ToolIndex) -> None:
    changed = [
        *(t for t in COMPANY if t.name != "search_customers"),
        *made("weather", tool("forecast", "Rain and sunshine in the coming days.")),
    ]
    newer = index.updated(changed)
    assert best(newer, "will it rain tomorrow") == "weather.forecast"
    assert "crm.search_customers" not in [name for name, _ in newer.search("find customers", limit=50)]
    assert best(index, "find customers by name") == "crm.search_customers"  # the older one still answers
    kept = next((t.qualified, t.definition_hash) for t in COMPANY if t.name == "list_invoices")
    assert newer._entries[kept] is index._entries[kept]


def test_words() -> None:
    assert words("listHTTPServers_v2") == ["list", "http", "server", "v2"]
    assert words("the companies, boxes and classes of a bus status") == ["company", "box", "class", "bus", "status"]
    assert words("最新新闻 news") == ["最新", "新新", "新闻", "new"]
    assert words("何") == ["何"]
    assert words("Crème BRÛLÉE") == ["crème", "brûlée"]
    assert words("") == []


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.text(max_size=200))
def test_any_text_can_be_searched_for(text: str) -> None:
    hits = ToolIndex().updated(COMPANY).search(text)
    assert len({name for name, _ in hits}) == len(hits)


def test_near_meanings_lie_near() -> None:
    vectors = Embeddings().embed(["cancel a meeting", "call off an appointment", "boil an egg", "", "\u0000"])
    assert vectors.shape == (5, 256)
    assert vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1
    assert np.allclose(np.linalg.norm(vectors[:3], axis=1), 1, atol=1e-5)
    assert not vectors[3].any()
    assert Embeddings().embed([]).shape == (0, 256)
    many = Embeddings().embed([f"tool number {n}" for n in range(600)])
    assert np.allclose(many[599], Embeddings().embed(["tool number 599"])[0], atol=1e-6)


def test_the_vectors_are_those_of_the_library_itself() -> None:
    """Read with the library's own loader, in a process of its own since importing it reconfigures logging."""
    code = (
        "import pathlib, json, wordllama;"
        "model = wordllama.WordLlama.load(cache_dir=pathlib.Path(wordllama.__file__).parent, disable_download=True);"
        "print(json.dumps(model.embed(['open invoices of a customer', 'x'], norm=True).tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert np.allclose(Embeddings().embed(["open invoices of a customer", "x"]), json.loads(done.stdout), atol=2e-3)


def test_meaning_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    embeddings._load.cache_clear()
    assert Embeddings().embed(["hello"]).any()


def test_without_embeddings_words_still_find(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    embeddings._load.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnreachableError, match="cannot be read"):
        Embeddings().embed(["x"])
    bare = ToolIndex().updated(COMPANY)
    assert best(bare, "invoices") == "payments.list_invoices"
    assert bare.search("invoices")[0][1] == 1.0
    assert "words only" in caplog.text
    assert best(bare.updated(COMPANY[::-1]), "invoices") == "payments.list_invoices"


def test_importing_the_registry_pulls_in_nothing_heavy() -> None:
    heavy = "numpy duckdb pandas pyarrow mcp aiohttp wordllama tokenizers safetensors requests"
    code = f"import sys, workbench.registry; print(*(m for m in {heavy.split()!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == ""


# --- on a real catalogue


@pytest.fixture(scope="module")
def catalogue() -> list[Tool]:
    if not CATALOGUE.exists():
        pytest.skip("set LIVEMCP_TOOLS to the tools.json of LiveMCPBench")
    tools = []
    for entry in json.loads(CATALOGUE.read_text(encoding="utf-8")):
        for id, listed in entry["tools"].items():
            tools += made(id, *listed["tools"])
    return tools


def recall(hits: list[list[str]], expected: list[set[str]], k: int) -> float:
    """Mean share of requests for which one of the acceptable tools is among the first k."""
    return sum(bool(set(found[:k]) & wanted) for found, wanted in zip(hits, expected, strict=True)) / len(expected)


@pytest.mark.slow
def test_words_and_meaning_together_find_more_than_words_alone(
    catalogue: list[Tool], record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = json.loads(Path(__file__).with_name("tool_requests.json").read_text(encoding="utf-8"))
    known = {t.qualified for t in catalogue}
    expected = [set(r["tools"]) for r in requests]
    assert not set().union(*expected) - known
    fused = ToolIndex().updated(catalogue)
    rankings: dict[str, list[list[str]]] = {}
    for name in ("fused", "words", "meaning"):
        with monkeypatch.context() as patch:
            if name == "words":
                patch.setattr(fused, "_by_meaning", lambda query: None)
            if name == "meaning":
                patch.setattr(fused, "_by_words", lambda query: np.zeros(len(catalogue), dtype=np.float32))
            rankings[name] = [[n for n, _ in fused.search(r["request"], 20)] for r in requests]
    for name, hits in rankings.items():
        figures = {k: round(recall(hits, expected, k), 3) for k in (1, 5, 20)}
        record_property(f"recall_{name}", figures)
        print(f"{name:8} recall@1/5/20 over {len(requests)} requests and {len(catalogue)} tools: {figures}")
    at_20 = {name: recall(hits, expected, 20) for name, hits in rankings.items()}
    assert at_20["fused"] >= at_20["words"] + 0.15
    assert at_20["fused"] >= 0.8


@pytest.mark.slow
async def test_ten_thousand_tools_are_searched_without_holding_up_anybody(catalogue: list[Tool]) -> None:
    many = [
        msgspec.structs.replace(t, server=f"{t.server}{copy}", definition_hash=f"{copy}{t.definition_hash}")
        for copy in range(20)
        for t in catalogue
    ][:10_000]
    full = await asyncio.to_thread(ToolIndex().updated, many)
    took = []
    for query in ("book a room for two nights", "latest price of a share", "chart of sales by month and region"):
        for among in (None, {t.qualified for t in many[::2]}):
            started = time.perf_counter()
            assert full.search(query, 20, among)
            took.append(time.perf_counter() - started)
    took.sort()
    print(f"{len(many)} tools: median {took[len(took) // 2] * 1e3:.2f} ms, worst {took[-1] * 1e3:.2f} ms")
    assert len(full._names) == 10_000
