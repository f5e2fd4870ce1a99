"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

from gpt.apps.searching.command import command

if __name__ == "__main__":
    command()
