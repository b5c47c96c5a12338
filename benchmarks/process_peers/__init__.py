"""Who takes part in benchmarks/process.py, and what their pictures are judged by."""
