"""Open a page about the runs in the browser: python play.py. See python play.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("play")  # its code: gpt/playground/command.py
