"""What can be set, and what was typed: schemas, keys and their roles, reading, composing, other names."""
