"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

from gpt.commands import train  # gpt.session.train

if __name__ == "__main__":
    train()
