"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("evaluate")  # its code: gpt/session/evaluate.py
