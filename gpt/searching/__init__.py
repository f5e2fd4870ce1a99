"""Hyperparameter search: the study that all workers share, and its report."""
