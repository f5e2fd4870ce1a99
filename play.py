"""Open a page about the runs in the browser: python play.py. See python play.py --help."""

from gpt.apps.playground.command import command

if __name__ == "__main__":
    command()
