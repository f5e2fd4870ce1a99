"""Search for hyperparameters: python search.py experiment=search_v6. See python search.py --help."""

from gpt.__main__ import main

if __name__ == "__main__":
    main("search")  # its code: gpt/searching/command.py
