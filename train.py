"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

from gpt.commands import train  # its code: gpt/session/train.py

if __name__ == "__main__":
    train()
