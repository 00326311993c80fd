"""List and watch of one kind of object: keeps its part of the inventory equal to the engine's.

It is level-triggered: an event only marks an object dirty, and a dirty object is fetched again and replaced or
removed. So events that come twice, late or out of order do no harm. Each kind has a task of its own: the list
of volumes can hang for a minute behind a dead plugin (moby: volume/drivers/proxy.go), and containers must not
wait for it. Nor must they wait for one of them: the engine answers for no container whose lock is held (moby:
daemon/inspect.go, which locks it), while all others are well. What it leaves unanswered is asked for beside them.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.engine.api import EngineError, EngineUnavailableError, NoAnswerError, NotFoundError
from exporter.logs import get_logger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Objects(Generic[T]):
    """How the objects of one kind are listed, fetched, compared and kept.

    `listed_whole` says that a list's entries lack nothing, so that the first list needs no call per object.
    """

    kind: str
    list_all: Callable[[], Awaitable[list[T]]]
    fetch: Callable[[str], Awaitable[T]]
    key: Callable[[T], str]
    same: Callable[[T, T], bool]
    known: Callable[[], Mapping[str, T]]
    put: Callable[[T], None]
    remove: Callable[[str], None]
    listed: Callable[[], None]
    listed_whole: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds, and how many calls may be under way for one kind."""

    debounce_seconds: float = 0.05
    resync_seconds: float = 300.0
    settle_seconds: float = 1.0
    first_retry_seconds: float = 0.5
    last_retry_seconds: float = 5.0
    unanswered_seconds: float = 30.0
    parallel_calls: int = 16


class KindWatch(Generic[T]):
    """Keeps the objects of one kind."""

    def __init__(self, objects: Objects[T], drift: Counter[str], pace: Pace) -> None:
        self._objects = objects
        self._drift = drift
        self._pace = pace
        self._dirty: set[str] = set()
        self._unanswered: set[str] = set()
        self._again = asyncio.Event()
        self._work = asyncio.Event()
        self._touched: dict[str, int] = {}
        self._clock = 0
        self._list_wanted = True
        self._can_list = True

    def touch(self, key: str) -> None:
        """Mark an object dirty, because an event named it."""
        self._clock += 1
        self._touched[key] = self._clock
        self._dirty.add(key)
        (self._again if key in self._unanswered else self._work).set()

    def relist(self) -> None:
        """Ask for a full list, because an event or a reopened stream left it open what changed."""
        self._list_wanted = True
        self._work.set()

    async def run(self) -> None:
        """Follow the engine until it is gone.

        Raises EngineUnavailableError when it is.
        """
        # Whatever stood between is over: all is asked for again.
        self._dirty |= self._unanswered
        self._unanswered.clear()
        self.relist()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_listed(), name=f"list {self._objects.kind}s")
            group.create_task(self._ask_again(), name=f"ask again for {self._objects.kind}s")

    async def _keep_listed(self) -> None:
        """List all objects now, on demand and now and then; soon again where the engine could not."""
        retry = self._pace.first_retry_seconds
        while True:
            wanted, self._list_wanted = self._list_wanted, False
            done = await (self._apply_list() if wanted else self._check_list())
            if done:
                retry = self._pace.first_retry_seconds
                await self._follow(self._pace.resync_seconds)
            else:
                await self._follow(retry)
                retry = min(2 * retry, self._pace.last_retry_seconds)
                self._list_wanted |= wanted

    async def _ask_again(self) -> None:
        """Ask for objects that the engine left unanswered, without holding up the others."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.unanswered_seconds):
                    await self._again.wait()
            self._again.clear()
            asked = set(self._unanswered)
            await self._fetch_each(asked)
            for key in asked - self._unanswered:
                self.touch(key)  # an event may have come while the answer was on its way

    async def _follow(self, seconds: float) -> None:
        """Fetch dirty objects until a full list is wanted, or for a time."""
        try:
            async with asyncio.timeout(seconds):
                while not self._list_wanted:
                    await self._work.wait()
                    await asyncio.sleep(self._pace.debounce_seconds)
                    await self._fetch_dirty()
        except TimeoutError:
            return

    async def _fetch_dirty(self) -> None:
        self._work.clear()
        dirty, self._dirty = self._dirty - self._unanswered, set()
        fetched = False
        try:
            await self._fetch_each(dirty)
            fetched = True
        finally:
            if not fetched:
                # The engine went away or the time is up: what was not fetched stays dirty.
                self._dirty |= dirty
                self._work.set()

    async def _apply_list(self) -> bool:
        """List all objects and take over what differs, except where an event came while the list was made.

        False if the engine can't list.
        """
        start = self._begin_list()
        listed = await self._list()
        if listed is None:
            return False
        changed = self._differing(listed, start)
        if self._objects.listed_whole:
            for key in changed:
                if key in listed:
                    self._objects.put(listed[key])
                else:
                    self._objects.remove(key)
        else:
            await self._fetch_each(key for key in changed if key not in self._unanswered)
        self._objects.listed()
        return True

    async def _check_list(self) -> bool:
        """List all objects, and correct and count what differs although no event told of it.

        False if the engine can't list.
        """
        start = self._begin_list()
        listed = await self._list()
        if listed is None:
            return False
        suspects = [key for key in self._differing(listed, start) if key not in self._unanswered]
        if not suspects:
            return True
        # The events of changes just before the list may still be on their way, or not yet followed.
        await self._follow(self._pace.settle_seconds)
        still = set(self._differing(listed, start)) - self._dirty
        for key in suspects:
            if key in still and self._touched.get(key, 0) <= start and await self._fetch(key):
                self._drift[self._objects.kind] += 1
                get_logger().warning("inventory corrected", kind=self._objects.kind, object=key)
        return True

    def _begin_list(self) -> int:
        """The moment before a list; earlier events are forgotten, since only later ones count against it."""
        self._touched.clear()
        return self._clock

    async def _list(self) -> dict[str, T] | None:
        try:
            listed = {self._objects.key(item): item for item in await self._objects.list_all()}
        except EngineError as error:
            if isinstance(error, EngineUnavailableError) and not isinstance(error, NoAnswerError):
                raise
            if self._can_list:
                get_logger().warning("engine can't list", kind=self._objects.kind, reason=str(error))
            self._can_list = False
            return None
        if not self._can_list:
            get_logger().info("engine lists again", kind=self._objects.kind)
        self._can_list = True
        return listed

    def _differing(self, listed: Mapping[str, T], start: int) -> list[str]:
        known = self._objects.known()
        differing = [
            key for key, item in listed.items() if key not in known or not self._objects.same(known[key], item)
        ]
        differing += [key for key in known if key not in listed]
        return [key for key in differing if self._touched.get(key, 0) <= start]

    async def _fetch_each(self, keys: Iterable[str]) -> None:
        queue = iter(list(keys))

        async def worker() -> None:
            for key in queue:
                await self._fetch(key)

        async with asyncio.TaskGroup() as group:
            for number in range(self._pace.parallel_calls):
                group.create_task(worker(), name=f"fetch {self._objects.kind} {number}")

    async def _fetch(self, key: str) -> bool:
        """Fetch one object again; True if that changed what is known of it."""
        before = self._objects.known().get(key)
        try:
            item = await self._objects.fetch(key)
        except NotFoundError:
            self._answered(key)
            self._objects.remove(key)
            return before is not None
        except NoAnswerError as error:
            if not self._unanswered:
                get_logger().warning(
                    "engine leaves questions unanswered", kind=self._objects.kind, object=key, reason=str(error)
                )
            self._unanswered.add(key)
            return False
        except EngineUnavailableError:
            raise
        except EngineError as error:
            self._answered(key)
            # One object that the engine can't tell of (a broken driver) must not hide the others.
            get_logger().debug("engine can't tell", kind=self._objects.kind, object=key, reason=str(error))
            return False
        self._answered(key)
        self._objects.put(item)
        return before != item

    def _answered(self, key: str) -> None:
        if key in self._unanswered:
            self._unanswered.remove(key)
            if not self._unanswered:
                get_logger().info("engine answers all questions again", kind=self._objects.kind)
