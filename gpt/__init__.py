"""A GPT grown from scratch: one module per stage, one loop for all of them."""
