"""A training from its configuration to its report, and what can be done with the result."""
