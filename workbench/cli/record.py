"""`workbench sql` and `workbench questions`: reading the record."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from workbench.cli.context import SECONDS, as_json, opened, print_json
from workbench.cli.tables import print_rows, print_rows_csv, print_rows_json
from workbench.events import MisuseError

if TYPE_CHECKING:
    import pyarrow as pa


_FLEET = click.option(
    "--fleet",
    is_flag=True,
    help="Query the records of all gateways that share audit_catalog or audit_engine.",
)


def _query(
    sql: str, parameters: Any = None, *, fleet: bool, max_rows: int | None = None, timeout: float = 30.0
) -> pa.Table:
    from workbench.audit import Reader
    from workbench.audit.fleet.fleet import open_fleet
    from workbench.config import Settings, prepare_home

    settings = Settings.load(home=click.get_current_context().obj.get("home"))
    if settings.url:
        with opened() as bench:
            engine = bench.fleet if fleet else bench.engine
            return engine.sql(sql, parameters, max_rows=max_rows, timeout_s=timeout)
    # the record is files: reading it needs neither a platform nor servers
    home = prepare_home(settings.home)
    reader = open_fleet(settings) if fleet else Reader(home)
    try:
        return reader.sql(sql, parameters, max_rows=max_rows, timeout_s=timeout)
    except RuntimeError as e:
        if "interrupted" in str(e).lower():  # DuckDB's word for Ctrl-C
            raise KeyboardInterrupt from e
        raise
    finally:
        reader.close()


@click.command()
@click.argument("query", required=False)
@click.option(
    "--limit", type=click.IntRange(0), default=200, show_default=True, help="Most rows to print; 0 prints all."
)
@click.option("--timeout", type=SECONDS, default=30.0, show_default=True, help="Seconds until the query is stopped.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@_FLEET
@as_json
def sql(query: str | None, limit: int, timeout: float, as_csv: bool, fleet: bool, as_json: bool) -> None:
    """Query everything that happened. Without a query, lists the tables and their columns.

    \b
    workbench sql "select server, tool, outcome, latency_us from tool_calls order by ts desc limit 10"
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json were given; choose one.")
    if not query:
        query = (
            "select t.name, t.meaning, string_agg(c.column_name, ', ') as columns from tables t "
            "join table_columns c on c.table_name = t.name group by t.name, t.meaning order by t.name"
        )
    table = _query(query, fleet=fleet, max_rows=limit or None, timeout=timeout)
    if as_json:
        print_rows_json(table)
    elif as_csv:
        print_rows_csv(table)
    else:
        print_rows(table)
        if limit and table.num_rows >= limit:
            click.echo(f"The first {limit} rows; --limit 0 prints all.", err=True)


@click.command()
@click.argument("name", required=False)
@click.argument("parameters", nargs=-1)
@_FLEET
@as_json
def questions(name: str | None, parameters: tuple[str, ...], fleet: bool, as_json: bool) -> None:
    """List the saved questions, or run one: workbench questions slowest_tools hours=24."""
    from workbench.audit.query.saved_questions import questions as saved
    from workbench.audit.query.saved_questions import saved_question

    if name is None:
        if as_json:
            print_json([asdict(q) for q in saved()])
        else:
            for q in saved():
                click.echo(f"{click.style(q.name, bold=True)}  {q.description}")
        return
    question = saved_question(name)
    if wrong := [pair for pair in parameters if "=" not in pair]:
        expected = ", ".join(f"{k}={v}" for k, v in question.parameters.items()) or "no parameters"
        raise MisuseError(f"{name} was given {' '.join(wrong)}.", hint=f"Expected {expected}.")
    table = _query(question.sql, question.filled(dict(pair.split("=", 1) for pair in parameters)), fleet=fleet)
    if as_json:
        print_rows_json(table)
    else:
        print_rows(table)
