"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

from gpt.commands import evaluate  # gpt.session.evaluate

if __name__ == "__main__":
    evaluate()
