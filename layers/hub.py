"""Whether the hub that models come from by name can be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CACHE_ONLY = {"local_files_only": True}
"""Argument of `from_pretrained` where it cannot: else it tries for half a minute, with two lines for each time."""
WAIT = 5.0
"""Seconds for a connection."""


def is_hub_reachable() -> bool:
    """Whether a connection to the hub can be had: yes where a proxy is asked instead, no where none is wanted."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    place = urlsplit(constants.ENDPOINT)
    host = place.hostname or ""
    if place.scheme in getproxies() and not proxy_bypass(host):
        return True
    try:
        socket.create_connection((host, place.port or (80 if place.scheme == "http" else 443)), WAIT).close()
    except OSError:
        return False
    return True


@contextmanager
def cache_only_if_unreachable() -> Iterator[None]:
    """Have packages that do not take `CACHE_ONLY` ask nobody inside, where the hub cannot be reached."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = not is_hub_reachable()  # read at each request
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
