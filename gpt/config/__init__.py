"""What can be set, and what was typed: the schema, keys and their roles, overrides, composing, other names."""
