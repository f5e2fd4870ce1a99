"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

from gpt.commands import generate  # gpt.session.generate

if __name__ == "__main__":
    generate()
