"""Compare runs with the documented losses and with each other: python compare.py. See python compare.py --help."""

from gpt.reports.compare import command

if __name__ == "__main__":
    command()
