"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

from gpt.__main__ import train  # its code: gpt/session/train.py

if __name__ == "__main__":
    train()
