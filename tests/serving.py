"""Servers of tests, in threads that end with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """A server that answers, and is closed afterwards, whatever happens in between.

    Closed without `shutdown`, it would poll the number of its old socket for ever: all of a processor
    for the rest of the tests.
    """
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with server:
        try:
            yield
        finally:
            server.shutdown()
