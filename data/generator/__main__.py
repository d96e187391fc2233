"""`python -m data.generator [FOLDER]` writes the sample company, by default to `data/company`."""

from __future__ import annotations

import sys
from pathlib import Path

from data.generator import write

if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "company"
    for table, rows in write(target).items():
        size = (target / f"{table}.parquet").stat().st_size
        sys.stdout.write(f"{table:16} {rows:7,} rows {size / 1024:8,.0f} KiB\n")
