"""Compare runs with the documented losses and with each other: python compare.py. See python compare.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("compare")  # its code: gpt/session/compare.py
