"""Rates of the last poll and the highest of the last minute, per network."""

from collections import deque
from collections.abc import Mapping, Sequence

PEAK_WINDOW_SECONDS = 60.0

_RECEIVE_BYTES = 0
_TRANSMIT_BYTES = 4


class Rates:
    """Bytes per second of each network, from its totals at each poll. Times are of a monotonic clock."""

    def __init__(self, window_seconds: float = PEAK_WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._last: dict[str, tuple[float, int, int]] = {}
        self._rates: dict[str, tuple[float, float]] = {}
        self._peaks: dict[str, tuple[deque[tuple[float, float]], deque[tuple[float, float]]]] = {}

    def poll(self, now: float, totals: Mapping[str, Sequence[int]]) -> None:
        """Take the totals of a poll; a network's first poll gives no rate yet."""
        for network in self._last.keys() - totals.keys():
            del self._last[network]
            self._rates.pop(network, None)
            self._peaks.pop(network, None)
        for network, total in totals.items():
            received, transmitted = total[_RECEIVE_BYTES], total[_TRANSMIT_BYTES]
            last = self._last.get(network)
            self._last[network] = (now, received, transmitted)
            if last is None or now <= last[0]:
                continue
            seconds = now - last[0]
            rates = ((received - last[1]) / seconds, (transmitted - last[2]) / seconds)
            self._rates[network] = rates
            peaks = self._peaks.setdefault(network, (deque(), deque()))
            for peak, rate in zip(peaks, rates, strict=True):
                # What is smaller than a later rate can't be the highest any more.
                while peak and peak[-1][1] <= rate:
                    peak.pop()
                peak.append((now, rate))
                while peak[0][0] <= now - self._window_seconds:
                    peak.popleft()

    def forget(self) -> None:
        """Forget the last poll's rates, since a poll failed; the next one that succeeds spans the gap."""
        self._rates.clear()

    def rate(self, network: str) -> tuple[float, float] | None:
        """Receive and transmit rate over the last poll, None before the second poll."""
        return self._rates.get(network)

    def peak(self, network: str) -> tuple[float, float] | None:
        """Highest receive and transmit rate of any poll in the window, None before the second poll."""
        peaks = self._peaks.get(network)
        return (peaks[0][0][1], peaks[1][0][1]) if peaks else None
