"""Searches for a file, its digest right, whose content is neither read nor refused in one line."""

import hashlib
import shutil
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved_files import edit, parts, refused

from manual_bp._saving.file import DIGEST, ZEROS

SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALAR, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3), max_leaves=5
)
GONE = object()
# a place in the file, the number of bytes taken away there, and those put in their place
SPLICE = st.tuples(st.integers(0, 2**16), st.integers(0, 8), st.text('0-e.[]{}:,"\\ NI').map(str.encode) | st.binary())

# an example takes about a millisecond
search = settings(
    max_examples=20 * settings().max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def places(tree):
    """Every (container, key) of nested lists and dicts."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from places(value)


def read_or_refused(kind, path):
    try:
        kind.load(path)
    except kind.error:
        refused(kind.error, kind.load, path)


@search
@given(st.integers(0, 2**16), JSON | st.just(GONE), st.booleans())
def test_any_value_in_place_of_another(kind, path, place, value, in_members):
    about, members, _ = parts(path.read_bytes())
    fields: Any = about
    found = list(places(members if in_members else fields))
    container, key = found[place % len(found)]
    if value is not GONE:
        container[key] = value
    elif container is not fields:
        del container[key]
    else:
        fields[key] = None  # `edit` leaves it out
    changed = shutil.copy(path, path.with_name("changed"))
    edit(changed, members, **fields)
    read_or_refused(kind, changed)


@search
@given(st.lists(SPLICE, min_size=1, max_size=3))
def test_any_splices(kind, path, splices):
    made, changed = bytearray(path.read_bytes()), path.with_name("changed")
    for place, taken, put in splices:
        start = DIGEST.stop + place % (len(made) - DIGEST.stop)
        made[start : start + taken] = put
    made[DIGEST] = ZEROS
    made[DIGEST] = hashlib.sha256(made).hexdigest().encode()
    changed.write_bytes(made)
    read_or_refused(kind, changed)
