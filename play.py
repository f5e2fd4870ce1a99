"""Open a page about the runs in the browser: python play.py. See python play.py --help."""

from gpt.commands import play  # gpt.apps.playground.command

if __name__ == "__main__":
    play()
