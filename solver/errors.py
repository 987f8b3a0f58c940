"""The one exception that users see."""


class InputError(ValueError):
    """Something the user gave is not usable: one line that says what, where, expected and got.

    The command line prints it as `error: <message>` and exits with code 1.
    """
