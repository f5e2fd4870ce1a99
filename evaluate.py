"""Measure a trained run on held-out data: python evaluate.py. See python evaluate.py --help."""

from gpt.session.evaluate import command

if __name__ == "__main__":
    command()
