"""The architectures beside the ladder: those that the Transformer replaced, and those that would replace it."""
