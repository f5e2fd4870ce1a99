"""From a corpus to batches: what a model is trained on, and how text becomes token ids."""
