"""What happens to real runs, done on purpose: quickly in the suite, at full size by soak.py."""
