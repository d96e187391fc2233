"""Every type of the engine through every tool of `tables`: what comes back is JSON that keeps its meaning."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from servers.tables.answers import QueryFailed, run
from servers.tables.folder import Folder
from servers.tables.server import build

Ask = Callable[..., Awaitable[Any]]

# SQL of one value, what it is in JSON, and what a filter takes for it (None: the same)
VALUES: dict[str, tuple[str, Any, Any]] = {
    "small_decimal": ("12.34::decimal(4,2)", 12.34, None),
    "price": ("1.25::decimal(10,2)", 1.25, None),
    "wide_decimal": ("12345.6789::decimal(18,4)", 12345.6789, None),
    "exact_decimal": (
        "1234567890123456789012345678.0123456789::decimal(38,10)",
        "1234567890123456789012345678.0123456789",
        None,
    ),
    "tiny_decimal": ("0.0000000001::decimal(38,10)", 1e-10, "0.0000000001"),
    "whole_decimal": ("5::decimal(18,0)", 5, None),
    "long_decimal": ("'99999999999999999999999999999999999999'::decimal(38,0)", "9" * 38, None),
    "bigint": ("9223372036854775807::bigint", 9223372036854775807, None),
    "ubigint": ("18446744073709551615::ubigint", 18446744073709551615, None),
    "hugeint": ("170141183460469231731687303715884105727::hugeint", str(2**127 - 1), None),
    "small_hugeint": ("-7::hugeint", -7, None),
    "uhugeint": ("340282366920938463463374607431768211455::uhugeint", str(2**128 - 1), None),
    "double": ("0.1::double", 0.1, None),
    "no_number": ("'nan'::double", None, "nan"),
    "endless": ("'-inf'::double", "-inf", None),
    "float4": ("0.5::float", 0.5, None),
    "yes": ("true", True, None),
    "span": ("interval '1 month 3 days'", "1 month 3 days", None),
    "clock": ("time '12:34:56.789'", "12:34:56.789", None),
    "clock_ns": ("'12:34:56.123456789'::time_ns", "12:34:56.123456789", None),
    "clock_zone": ("timetz '12:34:56+00'", "12:34:56+00", None),
    "moment": ("timestamp '2024-01-02 03:04:05'", "2024-01-02 03:04:05", None),
    "moment_zone": ("timestamptz '2024-01-02 03:04:05+02'", "2024-01-02 01:04:05+00", None),
    "moment_ns": ("'2024-01-02 03:04:05.123456789'::timestamp_ns", "2024-01-02 03:04:05.123456789", None),
    "moment_ms": ("'2024-01-02 03:04:05.5'::timestamp_ms", "2024-01-02 03:04:05.5", None),
    "moment_s": ("'2024-01-02 03:04:05'::timestamp_s", "2024-01-02 03:04:05", None),
    "day": ("date '2024-01-02'", "2024-01-02", None),
    "bytes": (r"'\xAA\x00b'::blob", "AA0062", None),
    "bits": ("'10101'::bit", "10101", None),
    "word": ("'a'::enum('a', 'b')", "a", None),
    "list": ("[1, 2, null]", [1, 2, None], "[1, 2, NULL]"),
    "decimals": ("[1.50::decimal(5,2), 2.25]", [1.5, 2.25], "[1.50, 2.25]"),
    "array": ("[1, 2]::int[2]", [1, 2], "[1, 2]"),
    "odd_floats": ("['nan'::double, 'inf'::double]", [None, "inf"], "[nan, inf]"),
    "structure": (
        "{'a': 1.10::decimal(30,2), 'b': {'c': date '2024-01-01'}}",
        {"a": 1.1, "b": {"c": "2024-01-01"}},
        "{'a': 1.10, 'b': {'c': 2024-01-01}}",
    ),
    "map": ("map {'k': 170141183460469231731687303715884105727::hugeint}", {"k": str(2**127 - 1)}, None),
    "union": ("union_value(num := 2)", {"num": 2}, "2"),
    "uuid": ("'34a77223-a644-40bb-828e-a4bbfa11cc58'::uuid", "34a77223-a644-40bb-828e-a4bbfa11cc58", None),
    "json": ("""'{"a": [1, 0.1, 1e400]}'::json""", {"a": [1, 0.1, "inf"]}, None),
    "variant": ("{'a': 1}::variant", {"a": 1}, None),
    "nothing": ("null::decimal(9,3)", None, None),
}


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[str]]]:
    """A file for each type that Parquet can hold, with the value twice and a null."""
    root = tmp_path_factory.mktemp("types")
    held = []
    for name, (sql, _, _) in VALUES.items():
        try:
            duckdb.execute(
                f"copy (select x, n from (values ({sql}, 1), ({sql}, 2), (null, 3)) t(x, n)) to '{root / name}.parquet'"
            )
        except duckdb.Error:
            (root / f"{name}.parquet").unlink(missing_ok=True)  # a type that Parquet has no place for
            continue
        held.append(name)
    folder = Folder(root, threads=1)
    yield build(folder), held
    folder.close()


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_each_type_leaves_a_query_as_json(name: str) -> None:
    sql, expected, _ = VALUES[name]
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        got = run(db, f"select {sql} as x, [{sql}] as xs", most_rows=5, timeout_s=5)
    json.dumps(got, allow_nan=False)
    assert got["rows"][0]["x"] == expected
    assert type(got["rows"][0]["x"]) is type(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
async def test_a_column_of_each_type_goes_through_every_tool(ask: Ask, typed: Any, name: str) -> None:
    server, held = typed
    if name not in held:
        pytest.skip("Parquet has no such type")
    tables = {t["file"]: t["table"] for t in (await ask(server, "list_tables"))["tables"]}
    table = tables[f"{name}.parquet"]
    described = await ask(server, "describe_table", table=table)
    assert isinstance(described, dict), described
    facts = described["columns"][0]
    first = (await ask(server, "sample_rows", table=table, limit=1))["rows"][0]["x"]
    assert facts["nulls"] == (3 if VALUES[name][0].startswith("null") else 1)
    assert facts["examples"] == ([] if first is None and name == "nothing" else [first])
    assert facts["min"] in (None, first)
    with duckdb.connect() as db:
        if db.execute(f"select typeof({VALUES[name][0]})").fetchone() == (facts["type"],):  # else Parquet changed it
            assert first == VALUES[name][1]
    assert (await ask(server, "find_rows", table=table, order_by="x"))["row_count"] == 3
    wanted = VALUES[name][2] if VALUES[name][2] is not None else first
    for op in ("=", "contains", "is null"):
        value = wanted if isinstance(wanted, (str, int, float)) else json.dumps(wanted)
        answer = await ask(server, "count_rows", table=table, filters=[{"column": "x", "op": op, "value": value}])
        assert isinstance(answer, dict) or "The query failed" in answer, answer
    for function in ("count", "count distinct", "min", "max", "sum", "avg", "median", "stddev"):
        answer = await ask(server, "aggregate", table=table, metrics=[{"function": function, "column": "x"}])
        assert isinstance(answer, dict) or "needs numbers" in answer or "Overflow" in answer, answer
    grouped = await ask(server, "aggregate", table=table, group_by=["x"])
    assert isinstance(grouped, dict), grouped
    asked = await ask(server, "query", sql=f'select x, count(*) as n from "{table}" group by x order by n desc')
    assert asked["rows"][0] == {"x": first, "n": 3 if name == "nothing" else 2}


async def test_money_is_described_and_summed_to_the_cent(ask: Ask, tmp_path: Path) -> None:
    duckdb.execute(
        "copy (select i as id, ('C' || i % 9) as customer, (i * 1.25)::decimal(12,2) as amount, "
        f"(i * 0.0000000001)::decimal(38,10) as rate from range(500) r(i)) to '{tmp_path / 'money.parquet'}'"
    )
    folder = Folder(tmp_path, threads=1)
    server = build(folder)
    described = {c["name"]: c for c in (await ask(server, "describe_table", table="money"))["columns"]}
    assert (described["amount"]["min"], described["amount"]["max"]) == (0.0, 623.75)
    assert described["amount"]["examples"] == [0.0, 1.25, 2.5]
    sums = await ask(
        server, "aggregate", table="money",
        metrics=[{"function": f, "column": "amount"} for f in ("sum", "avg", "median", "max")],
    )  # fmt: skip
    total = sum(Decimal("1.25") * i for i in range(500))
    assert sums["rows"][0]["sum_amount"] == float(total)
    assert sums["rows"][0]["avg_amount"] == float(total / 500)
    over = [{"column": "amount", "op": ">=", "value": 100.5}]
    assert (await ask(server, "count_rows", table="money", filters=over))["count"] == 419
    same = [{"column": "amount", "value": "12.50"}]
    assert (await ask(server, "find_rows", table="money", filters=same))["rows"][0]["id"] == 10
    folder.close()


def test_a_number_that_a_float_cannot_hold_is_text_whichever_way_it_is_nested() -> None:
    with duckdb.connect() as db:
        sql = "select 0.12345678901234567890::decimal(38,20) as x, [0.12345678901234567890::decimal(38,20)] as xs"
        assert run(db, sql, most_rows=1, timeout_s=5)["rows"] == [
            {"x": "0.12345678901234567890", "xs": ["0.12345678901234567890"]}
        ]


def test_json_that_is_nested_too_deeply_is_text_and_an_error_is_said() -> None:
    deep = "[" * 1500 + "]" * 1500
    with duckdb.connect() as db:
        assert run(db, f"select '{deep}'::json as x", most_rows=1, timeout_s=5)["rows"][0]["x"] == deep
        with pytest.raises(QueryFailed, match="failed"):
            run(db, "select 'x'::int", most_rows=1, timeout_s=5)
