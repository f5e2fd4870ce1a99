"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("train")  # its code: gpt/session/train.py
