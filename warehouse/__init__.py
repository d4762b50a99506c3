"""The store: Parquet shards, DuckDB over them, SQL models, transforms, snapshots. No language model, no network."""
