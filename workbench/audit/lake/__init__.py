"""From the log to Parquet: compaction, rollups, trace index, retention, erasure, and copies in a store."""
