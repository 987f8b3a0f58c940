"""Documents with one fault, for the tests of what reads them."""

import copy
from typing import Any


def changed(path: tuple[Any, ...], value: object, document: object) -> Any:
    """A copy of `document` with one place overwritten, or removed where `value` is ..."""
    document = copy.deepcopy(document)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document
