"""A search for hyperparameters: the study that all workers share, and what it has found."""
