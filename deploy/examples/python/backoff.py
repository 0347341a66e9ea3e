"""Whether and how long to wait before the next try, and when to stop trying."""

import asyncio
import logging
import random
import time

import grpc

from failures import explain, retry_seconds

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 5.0

log = logging.getLogger(__name__)


class Backoff:
    """Waits longer from failure to failure, a random part of it, until its patience is over."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self.succeeded()

    def succeeded(self) -> None:
        """Begin anew: what comes next is a first failure."""
        self._failures = 0
        self._since: float | None = None

    async def wait(self, error: grpc.aio.AioRpcError | TimeoutError) -> None:
        """Wait before the next try, or raise the error when another cannot help or is too late."""
        asked_seconds = 0.0
        why = str(error)
        if isinstance(error, grpc.aio.AioRpcError):
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise error
            asked_seconds = retry_seconds(error)
            why = explain(error)
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._patience_seconds:
            raise error
        longest = min(FIRST_SECONDS * 2**self._failures, LONGEST_SECONDS)
        # So that many clients of one service do not come back at one instant.
        seconds = max(random.uniform(longest / 2, longest), asked_seconds)  # noqa: S311
        self._failures += 1
        log.warning("%s; trying again in %.1f s", why, seconds)
        await asyncio.sleep(seconds)
