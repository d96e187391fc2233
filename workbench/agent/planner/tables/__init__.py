"""Questions about tables: finding the table, its columns, and the query."""
