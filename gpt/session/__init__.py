"""A training run from its configuration to its report, and the use of its result: evaluating, generating, Python."""
