"""DuckDB's SQL, as far as it reads the record, said in the words of Postgres."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from workbench.audit.format.columns import COLUMNS
from workbench.events import MisuseError

if TYPE_CHECKING:
    from sqlglot import exp

FUNCTIONS = frozenset(
    (
        "contains", "make_timestamp", "now", "regexp_matches", "round_double", "round_to", "starts_with", "to_days",
        "to_hours", "to_minutes", "to_seconds", "try_bigint", "try_boolean", "try_double",
    )
)  # fmt: skip
"""Functions that a statement may call besides those that the translator knows: ours, or equal in both."""

_INTEGERS = frozenset(column.name for column in COLUMNS if column.type == "BIGINT")

_HINT = "Ask the gateways themselves, without the fleet, or say it in simpler SQL."


def translate(query: str, parameters: Any = None, *, tables: Collection[str] = ()) -> str:
    """The same SELECT for Postgres, with its parameters in it.

    It is no guard: what may be asked is decided before, by DuckDB's own parser. Still it lets through only tables and
    functions that it knows.

    Args:
        query: one SELECT in DuckDB's dialect.
        parameters: values for `?` (a sequence) or `$name` (a mapping).
        tables: the tables that may be named.

    Raises:
        MisuseError: it cannot be said in Postgres.
    """
    import sqlglot
    from sqlglot import exp

    try:
        trees = [tree for tree in sqlglot.parse(_numbered(query), read="duckdb") if tree is not None]
    except sqlglot.errors.SqlglotError as e:
        raise MisuseError(f"The server does not understand this statement: {e}.", hint=_HINT) from e
    if len(trees) != 1 or not isinstance(trees[0], exp.Query | exp.Values):
        raise MisuseError("The server answers one SELECT.", hint=_HINT)
    tree = _with_values(trees[0], parameters)
    _check(tree, {name.lower() for name in tables})
    return say(tree)


def say(tree: exp.Expr) -> str:
    """A tree of DuckDB's dialect as text for Postgres. The tree is changed."""
    from sqlglot import exp

    for rounding in tree.find_all(exp.Round):  # before what tells the two apart is gone
        rounding.meta["decimal"] = _decimal(rounding.this)
    for node in reversed(list(tree.walk(bfs=True))):  # what is inside comes before what is around it
        plain = _plain(node)
        if plain is not node:
            node.replace(plain)
    for select in list(tree.find_all(exp.Select)):
        _name_groups(select)
    return tree.sql("postgres", comments=False)


def _numbered(query: str) -> str:
    """The statement with `$1`, `$2` … in the place of `?`."""
    import sqlglot

    marks = [token for token in sqlglot.tokenize(query, read="duckdb") if token.token_type.name == "PLACEHOLDER"]
    for number, mark in reversed(list(enumerate(marks, 1))):
        query = f"{query[: mark.start]}${number}{query[mark.end + 1 :]}"
    return query


def _with_values(tree: exp.Expr, parameters: Any) -> exp.Expr:
    """The tree with values in the place of its parameters."""
    from sqlglot import exp

    listed = isinstance(parameters, Sequence) and not isinstance(parameters, str)
    given = {str(n): v for n, v in enumerate(parameters, 1)} if listed else dict(parameters or {})
    for node in list(tree.find_all(exp.Placeholder, exp.Parameter)):
        if node.name not in given:
            raise MisuseError(f"No value was given for the parameter {node.name}.", hint="")
        node.replace(_literal(given[node.name]))
    return tree


def _literal(value: Any) -> exp.Expr:
    from sqlglot import exp

    if value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, str) and "\0" in value:
            raise MisuseError("A parameter holds the character 0, which Postgres has not.", hint="")
        return exp.convert(value)
    if isinstance(value, datetime | date):
        kind = "TIMESTAMP" if isinstance(value, datetime) else "DATE"
        return exp.cast(exp.Literal.string(value.isoformat()), kind)
    raise MisuseError(f"A parameter is {type(value).__name__}.", hint="Expected a number, text or a time.")


def _check(tree: exp.Expr, tables: set[str]) -> None:
    from sqlglot import exp

    common = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.args.get("db") or table.args.get("catalog") or not isinstance(table.this, exp.Identifier):
            raise MisuseError(f"The server cannot read from {table.sql('duckdb')}.", hint=_HINT)
        if table.name.lower() not in tables | common:
            raise MisuseError(f"There is no table {table.name}.", hint="")
    for node in tree.find_all(exp.Anonymous, exp.AnonymousAggFunc, exp.Command, exp.Lambda, exp.Dot):
        if str(node.this).lower() not in FUNCTIONS or not isinstance(node, exp.Anonymous):
            raise MisuseError(f"{node.sql('duckdb')} cannot be said on the server.", hint=_HINT)


def _decimal(node: exp.Expr) -> bool:
    """Whether DuckDB calculates it with decimals, where 1.005 is exactly that: as a double it is a little less, and
    rounded to two digits something else."""
    return _exactness(node) == "decimal"


def _exactness(node: exp.Expr) -> str:
    """`decimal`, `integer` or `double`, as far as an expression says so by itself; what is not known is a double."""
    from sqlglot import exp

    if isinstance(node, exp.Literal):
        whole = node.name.isdigit()
        return "double" if node.is_string or "e" in node.name.lower() else "integer" if whole else "decimal"
    if isinstance(node, exp.Column):
        return "integer" if node.name.lower() in _INTEGERS else "double"
    if isinstance(node, exp.Paren | exp.Neg | exp.Sum | exp.Min | exp.Max | exp.Abs):
        return _exactness(node.this)
    if isinstance(node, exp.Cast):
        kind = node.to.sql("duckdb")
        return "decimal" if kind.startswith("DECIMAL") else "integer" if kind.endswith(("INT", "INTEGER")) else "double"
    if isinstance(node, exp.Count):
        return "integer"
    if isinstance(node, exp.Add | exp.Sub | exp.Mul):
        parts = {_exactness(node.this), _exactness(node.expression)}
        return "double" if "double" in parts else "decimal" if "decimal" in parts else "integer"
    return "double"


def _plain(node: exp.Expr) -> exp.Expr:
    """One node whose meaning would change, as something that means the same in Postgres."""
    from sqlglot import exp

    if isinstance(node, exp.Literal) and not node.is_string and not node.name.isdigit():
        return exp.cast(node, "DOUBLE")  # Postgres would calculate with decimals
    if isinstance(node, exp.Round):
        digits = node.args.get("decimals") or exp.Literal.number(0)
        return exp.func(
            "round_to" if node.meta.get("decimal") else "round_double", exp.cast(node.this, "DOUBLE"), digits
        )
    if isinstance(node, exp.Avg):
        return exp.cast(node, "DOUBLE")
    if isinstance(node, exp.TryCast):
        name = {"BIGINT": "try_bigint", "DOUBLE": "try_double", "BOOLEAN": "try_boolean"}.get(node.to.sql("duckdb"))
        if name is None:
            raise MisuseError(f"{node.sql('duckdb')} cannot be said on the server.", hint=_HINT)
        return exp.func(name, exp.cast(node.this, "TEXT"))
    if isinstance(node, exp.ArgMax | exp.ArgMin):
        order = exp.Ordered(this=node.expression, desc=isinstance(node, exp.ArgMax), nulls_first=False)
        kept = exp.ArrayAgg(this=exp.Order(this=node.this, expressions=[order]))
        return exp.Bracket(this=exp.Paren(this=kept), expressions=[exp.Literal.number(1)], offset=1)
    if isinstance(node, exp.Filter) and isinstance(node.this, exp.Bracket):
        first = node.this.copy()
        first.this.set("this", exp.Filter(this=first.this.this, expression=node.expression))
        return first
    return node


def _name_groups(select: exp.Select) -> None:
    """`GROUP BY ALL` by the places of the columns that are not summed up."""
    from sqlglot import exp

    group = select.args.get("group")
    if group is None or not group.args.get("all"):
        return
    places = [
        exp.Literal.number(place)
        for place, column in enumerate(select.expressions, 1)
        if not any(not isinstance(found.parent, exp.Window) for found in column.find_all(exp.AggFunc))
    ]
    select.set("group", exp.Group(expressions=places) if places else None)
