"""What a disk says when it is full, read-only or broken."""

import os
from collections.abc import Callable


def raising(number: int) -> Callable[..., None]:
    """Stands in for a function of the system, and fails with this error."""

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
