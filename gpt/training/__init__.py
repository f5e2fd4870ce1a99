"""The training loop, its watchers, optimizers, schedules, state and evaluation."""
