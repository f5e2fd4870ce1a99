"""Applications on top of runs: hyperparameter search, exports for other programs, a page in the browser."""
