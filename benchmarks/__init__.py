"""The command ``python -m benchmarks``: what MIDAS costs, measured side by side with what it is compared to."""
