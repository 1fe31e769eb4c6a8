"""Output that is seen at once."""

import functools

say = functools.partial(print, flush=True)
