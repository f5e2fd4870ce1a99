"""The stages of the records in docs/lab/records.md: gated recurrences in place of most attention."""
