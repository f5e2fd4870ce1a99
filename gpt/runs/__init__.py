"""Run folders: writing, resuming, reporting and comparing them."""
