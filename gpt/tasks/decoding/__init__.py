"""Text and translations from a trained model, and how good the translations are."""
