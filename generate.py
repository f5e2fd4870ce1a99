"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

from gpt.__main__ import generate  # its code: gpt/session/generate.py

if __name__ == "__main__":
    generate()
