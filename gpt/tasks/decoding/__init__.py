"""Text and translations from a trained model, and scores of the translations."""
