"""What is built on runs: a search for hyperparameters, exports for other programs, a page in the browser."""
