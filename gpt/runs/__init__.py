"""The run folder on disk: records, weights, checkpoints, formats, and finding runs."""
