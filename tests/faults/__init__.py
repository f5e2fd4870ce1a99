"""What happens to real runs, done on purpose: README.md says how often."""
