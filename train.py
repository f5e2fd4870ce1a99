"""Train one stage of the ladder: python train.py model=v5. See python train.py --help."""

from gpt.session.train import command

if __name__ == "__main__":
    command()
