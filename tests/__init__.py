"""Statements about what the repository promises."""
