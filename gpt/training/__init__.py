"""The training loop, what it moves the parameters with, and whoever watches it."""
