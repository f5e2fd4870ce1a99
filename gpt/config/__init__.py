"""What can be set: the schema, keys and their roles, choices, composing, and the names that other programs use."""
