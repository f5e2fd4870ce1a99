"""Print text from a trained run: python generate.py prompt="ROMEO:". See python generate.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("generate")  # its code: gpt/session/generate.py
