"""The thorough tests, pytest -m release: documented losses, whole notebooks, the site from trained runs, benchmarks."""
