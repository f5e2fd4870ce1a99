"""Text and translations from a trained model."""
