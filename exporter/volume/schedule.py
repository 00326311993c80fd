"""When to walk which volume again, so that walking never takes more than its share of time. No clock."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

URGENT_REST_SECONDS = 600.0
"""A volume to which something happened does not wait for a rest that is shorter than this."""

_SPARE_ENTRIES = 64


@dataclass(slots=True)
class _Item:
    group: str
    is_idle: bool = False
    is_measured: bool = False
    is_urgent: bool = True
    is_written: bool = False
    is_running: bool = False
    measured_at: float = 0.0
    seconds: float = 0.0
    due: float = 0.0


class Schedule:
    """Due times by volume. Times are seconds of any monotonic clock; a group's volumes are walked one by one.

    A new volume is due at once, and so is one to which something happened. A measured one is due an interval
    later, or `max_age` later if nobody can write to it. After each walk, all rest until walking has taken no more
    than its share of the time: new volumes don't wait for that, urgent ones only if the rest is long. Of those
    that are due first come those older than `max_age`, then those written to, then the one due longest.
    """

    def __init__(self, interval_seconds: float, max_share: float, max_age_seconds: float = 3600.0) -> None:
        """`max_share` is above 0 and at most 1, for instance 0.05."""
        self._interval_seconds = interval_seconds
        self._max_age_seconds = max(max_age_seconds, interval_seconds)
        self._rest_per_second = (1 - max_share) / max_share
        self._items: dict[str, _Item] = {}
        self._new: dict[str, None] = {}
        self._urgent: dict[str, None] = {}
        self._written: dict[str, None] = {}
        self._ready: dict[str, None] = {}
        self._overdue: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._rest_until = 0.0

    def add(self, name: str, group: str, *, is_idle: bool) -> None:
        """Take up a volume, to be measured at once; of a known one only note whether anybody can write to it."""
        item = self._items.get(name)
        if item is None or item.group != group:
            self.remove(name)
            self._items[name] = _Item(group, is_idle)
            self._new[name] = None
        elif item.is_idle != is_idle:
            item.is_idle = is_idle
            if item.is_measured and not item.is_running:
                self._plan(name, item)

    def hurry(self, name: str) -> None:
        """Make a volume due at once, because something happened to it."""
        item = self._items.get(name)
        if item is not None:
            item.is_urgent = True
            if name not in self._new and not item.is_running:
                self._urgent[name] = None

    def written(self, names: Iterable[str]) -> None:
        """Note that somebody wrote to these volumes since they were last measured."""
        for name in names:
            item = self._items.get(name)
            if item is not None:
                item.is_written = True
                if name in self._ready:
                    del self._ready[name]
                    self._written[name] = None

    def remove(self, name: str) -> None:
        """Forget a volume."""
        self._items.pop(name, None)
        self._wait_no_more(name)
        self._tidy()

    def names(self) -> set[str]:
        """All volumes that are taken up."""
        return set(self._items)

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def next(self, now: float, busy: Collection[str] = ()) -> tuple[str | None, float]:
        """The volume to walk now, which then counts as begun, or None with the time until when there is nothing.

        No volume of a busy group is named.
        """
        while self._later and self._later[0][0] <= now:
            due, name = heapq.heappop(self._later)
            item = self._items.get(name)
            if item is not None and item.due == due and not item.is_running and name not in self._new:
                is_old = now - item.measured_at >= self._max_age_seconds
                waiting = self._overdue if is_old else self._written if item.is_written else self._ready
                waiting[name] = None
        for name in self._in_order(now):
            if self._items[name].group not in busy:
                self._wait_no_more(name)
                item = self._items[name]
                item.is_running, item.is_urgent, item.is_written = True, False, False
                return name, now
        wake = max(self._later[0][0], self._rest_until) if self._later else now + self._interval_seconds
        if self._urgent:
            wake = min(wake, self._rest_until - URGENT_REST_SECONDS)
        if self._written or self._ready or self._overdue:
            wake = min(wake, self._rest_until)
        # Where only busy groups have something due, the end of their walk wakes.
        return None, wake if wake > now else now + self._interval_seconds

    def done(self, name: str, now: float, seconds: float) -> None:
        """Note that a volume was walked, or that it failed, in this time."""
        self._rest_until = max(self._rest_until, now) + seconds * self._rest_per_second
        item = self._items.get(name)
        if item is None:
            return
        self._new.pop(name, None)
        item.is_running, item.is_measured = False, True
        item.measured_at, item.seconds = now, seconds
        if item.is_urgent:  # something happened while it was walked
            self._urgent[name] = None
        self._plan(name, item)

    def _plan(self, name: str, item: _Item) -> None:
        pause = self._max_age_seconds if item.is_idle else self._interval_seconds
        due = item.measured_at + max(pause, item.seconds * self._rest_per_second)
        if due == item.due:  # it waits for that already, or for its turn
            return
        item.due = due
        for waiting in (self._written, self._ready, self._overdue):
            waiting.pop(name, None)
        heapq.heappush(self._later, (due, name))
        self._tidy()

    def _tidy(self) -> None:
        """Leave out the times that hold no more, of removed and replanned volumes, once they are the most."""
        if len(self._later) > 2 * len(self._items) + _SPARE_ENTRIES:
            held = {
                (due, name) for due, name in self._later if name in self._items and self._items[name].due == due
            }
            self._later = list(held)
            heapq.heapify(self._later)

    def _wait_no_more(self, name: str) -> None:
        for waiting in (self._new, self._urgent, self._written, self._ready, self._overdue):
            waiting.pop(name, None)

    def _in_order(self, now: float) -> Iterator[str]:
        yield from list(self._new)
        if self._rest_until - now <= URGENT_REST_SECONDS:
            yield from list(self._urgent)
        if self._rest_until <= now:
            yield from list(self._overdue)
            oldest = [next(iter(waiting)) for waiting in (self._written, self._ready) if waiting]
            yield from (name for name in oldest if now - self._items[name].measured_at >= self._max_age_seconds)
            yield from list(self._written)
            yield from list(self._ready)
