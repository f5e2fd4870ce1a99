"""A model observed while it runs: its attention weights, the values inside it, and its parts turned off."""
