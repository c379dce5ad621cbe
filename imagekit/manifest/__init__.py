"""The manifest: one Parquet file that holds every row, every label, every split and what was fitted on train."""
