"""What a file or a table must look like: columns, types, rules. No Prefect, no HTTP."""
