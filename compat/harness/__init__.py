"""What the black-box tests share: starting a server, talking RESP to it, writing a transcript down."""

import sys


def _in_one_line(kind, error, trace):
    """A person who ends a test with Ctrl-C does not want to read where it was."""
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _in_one_line
