"""The one exception that users see."""


class InputError(Exception):
    """Something the user gave is not usable: one line that says what, where, expected and got.

    The command line prints it as `error: <message>` and exits with code 1. No ValueError, which the parser of the
    command line would take for a fault of usage, under names of its own.
    """
