"""Sizes as people and Docker write them."""

import re

_SIZE = re.compile(
    r"(?P<number>\d{1,18}(?:\.\d{1,9})?)\s*(?:(?P<prefix>[kmgtp])(?P<suffix>i?b)?|b)?", re.IGNORECASE | re.ASCII
)
_POWERS = {prefix: power for power, prefix in enumerate("kmgtp", start=1)}

SIZE_FORMS = "bytes, 50g or 50GiB (both binary: 1024^3), or 50GB (decimal: 1000^3); k, m, g, t or p"
"""What `parse_size` takes, for messages."""


def parse_size(text: str) -> int:
    """Bytes of `53687091200`, `50g`, `50GiB` or `50GB`, in any case, with decimals.

    A letter alone is binary, as the engine reads `-o size=50g` and `--memory 50g` (go-units: RAMInBytes), and so
    is `GiB`; `GB` is decimal, as the engine prints it (go-units: HumanSize). Raises ValueError, whose message
    says what is allowed, for anything else, and for less than one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(SIZE_FORMS)
    base = 1000 if (match["suffix"] or "").lower() == "b" else 1024
    size = int(float(match["number"]) * base ** _POWERS.get((match["prefix"] or "").lower(), 0))
    if size < 1:
        raise ValueError(f"more than 0: {SIZE_FORMS}")
    return size
