"""Close connections that send no request: uvicorn waits for its end for ever, also where a byte comes now and then."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0
"""From the opening of a connection, or the end of its last answer, to the end of a request's header."""


class Impatient(H11Protocol):
    """uvicorn's connection, with a time limit for the header; web.py has that for the body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the time again."""
        self._since = self.loop.time()
        super().on_response_complete()

    def _check(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        left = self._since + REQUEST_SECONDS - self.loop.time()
        if is_idle and left <= 0:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(max(left, 1.0), self._check)
