"""History on disk: immutable Parquet segments, written by one process and read by any number at the same time."""
