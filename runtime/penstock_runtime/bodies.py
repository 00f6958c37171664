"""Reading request bodies within limits: each no larger and no slower than allowed, and all together bounded.

The connection stays open after a refusal: a client that is still sending would else meet a reset instead of the answer.
"""

import asyncio
from typing import Final

from penstock_runtime import answers
from penstock_runtime.answers import Answer
from penstock_runtime.asgi import Headers, Receive
from penstock_runtime.settings import Limits

# What a body that does not tell its length is taken for.
_UNTOLD: Final = 1024 * 1024


def length(headers: Headers, limits: Limits) -> int:
    """How many bytes to reserve for a body."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return min(_UNTOLD, limits.body_bytes)


async def read(receive: Receive, limits: Limits) -> bytes | Answer:
    """The whole body, or the refusal of one that is too large, too slow, or left by its client."""
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(limits.request_timeout):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return answers.left()
                part: bytes = message.get("body", b"")
                size, more = size + len(part), message.get("more_body", False)
                if size > limits.body_bytes:
                    return answers.too_large(limits.body_bytes)
                parts.append(part)
    except TimeoutError:
        return answers.body_too_slow(limits.request_timeout)
    return parts[0] if len(parts) == 1 else b"".join(parts)
