"""Promises that are tried one by one, each with a line that says whether it was kept."""


class Skipped(Exception):
    """This machine lacks what the promise needs."""


def kept(name: str, promise, *arguments) -> bool:
    """Tries a promise and prints `ok - NAME` or `not ok - NAME: why`. Whether it was kept, or could not be tried."""
    try:
        promise(*arguments)
        print(f"ok - {name}")
    except Skipped as why:
        print(f"ok - {name} # skipped, {why}")
    except Exception as e:  # noqa: BLE001 - any failure is the promise's
        print(f"not ok - {name}: {type(e).__name__}: {e}")
        return False
    return True


def name_of(promise) -> str:
    """A function's name, as words."""
    return promise.__name__.replace("_", " ")
