"""The record of several gateways together: Postgres as sink and SQL engine, Iceberg as catalog."""
