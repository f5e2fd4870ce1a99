"""A GPT grown from nothing: one module a stage, one loop for all of them."""
