"""CSV, Parquet and workbooks as people save them, down to clean text cells."""
