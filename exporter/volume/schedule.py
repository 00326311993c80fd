"""When to measure which volume again, so that walking never takes more than its share of time. No clock."""

import heapq


class Schedule:
    """Due times by volume. Times are seconds of any monotonic clock.

    A new volume is due at once. A measured one is due an interval later; and after a walk of some seconds no
    other re-measurement begins until that walk is no more than its share of the time since. So cheap volumes
    are measured often and dear ones rarely, and the total keeps to the share.
    """

    def __init__(self, interval_seconds: float, max_share: float) -> None:
        """`max_share` is between 0 and 1, for instance 0.05."""
        self._interval_seconds = interval_seconds
        self._rest_per_second = (1 - max_share) / max_share
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._new: dict[str, None] = {}
        self._rest_until = 0.0

    def add(self, name: str) -> None:
        """Take up a volume, to be measured at once; one that is known already stays as it is."""
        if name not in self._due and name not in self._new:
            self._new[name] = None

    def hurry(self, name: str) -> None:
        """Make a volume due at once, because something happened to it."""
        self._due.pop(name, None)
        self._new[name] = None

    def remove(self, name: str) -> None:
        """Forget a volume."""
        self._due.pop(name, None)
        self._new.pop(name, None)

    def names(self) -> set[str]:
        """All volumes that are taken up."""
        return {*self._due, *self._new}

    def __contains__(self, name: str) -> bool:
        return name in self._due or name in self._new

    def next(self, now: float) -> tuple[str | None, float]:
        """The volume to measure now, or None with the time until when there is nothing to do."""
        if self._new:
            return next(iter(self._new)), now
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return None, now + self._interval_seconds
        due, name = self._heap[0]
        at = max(due, self._rest_until)
        return (name, now) if at <= now else (None, at)

    def done(self, name: str, now: float, seconds: float) -> None:
        """Note that a volume was measured, or that it failed, in this time."""
        self._new.pop(name, None)
        self._rest_until = max(self._rest_until, now) + seconds * self._rest_per_second
        due = now + max(self._interval_seconds, seconds * self._rest_per_second)
        self._due[name] = due
        heapq.heappush(self._heap, (due, name))
