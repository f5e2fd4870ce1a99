"""Errors that are the user's to mend: the scripts print them as one line, without a traceback."""


class UserError(Exception):
    """Something failed outside the code (a file, the network, the machine); the message says what to do."""

    exit_code = 1


class RequestError(UserError):
    """What was asked for is not possible as it was asked: a value, a name, a combination."""

    exit_code = 2
