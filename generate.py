"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

from gpt.session.generate import command

if __name__ == "__main__":
    command()
