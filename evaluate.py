"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

from gpt.__main__ import evaluate  # its code: gpt/session/evaluate.py

if __name__ == "__main__":
    evaluate()
