"""The command line of the scripts: a command is read and called, sweeps are run, errors become one line."""
