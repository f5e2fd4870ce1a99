"""The run folder on disk: records, weights, checkpoints, formats, finding runs, and reports on what is found."""
