"""Scripts that measure; run one as `python -m benchmarks.<name>`."""
