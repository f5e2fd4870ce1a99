"""Compare runs with the documented losses and with each other: python compare.py. See python compare.py --help."""

from gpt.__main__ import compare  # its code: gpt/session/compare.py

if __name__ == "__main__":
    compare()
