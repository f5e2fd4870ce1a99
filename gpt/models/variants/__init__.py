"""Stages with one idea less or one more, which measure what the idea is worth: model=v6_without_residuals."""
