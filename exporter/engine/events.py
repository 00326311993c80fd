"""What events mean: which objects they concern, how they are counted, and whether any are missing. No I/O."""

from collections import Counter, OrderedDict
from dataclasses import dataclass

from exporter.engine.parse import UNREADABLE, Event

_RING = 256
"""The engine keeps this many events for readers that come back (moby: daemon/events/events.go)."""

_OVERLAP_NANO = 2_000_000_000
"""How far before the last event a reader resumes: near-simultaneous events can be stored out of order."""

_MOST_SEEN = 50_000
"""Far more than come in the overlap; Podman, which reads its journal, replays all of them."""

_MOST_COUNTED_ACTIONS = 200
_NOISE = frozenset({"exec", "attach", "detach", "copy", "export", "archive-path", "extract-to-dir", "resize"})
_EXEC = frozenset({"exec", "exec_create", "exec_start", "exec_die", "exec_detach", "exec_died", "top"})
_END = frozenset({"destroy", "remove"})
_KINDS = frozenset({"container", "network", "volume"})
_USUAL = (
    *(("container", action) for action in ("create", "start", "die", "kill", "oom", "restart", "destroy")),
    *(("network", action) for action in ("create", "connect", "disconnect", "destroy")),
    *(("volume", action) for action in ("create", "mount", "unmount", "destroy")),
)


@dataclass(frozen=True, slots=True)
class Affected:
    """What an event says may have changed: objects by kind and id, or all objects of `everything`'s kind."""

    objects: tuple[tuple[str, str], ...] = ()
    everything: str = ""


def action_of(event: Event) -> str:
    """The action without its particulars: `health_status: healthy` is `health_status`, exec_* are `exec`."""
    action = event.action.partition(":")[0].strip()
    return "exec" if action in _EXEC else action


def affected_by(event: Event) -> Affected:
    """Which objects to fetch again. Nothing of the event's payload is applied: events come twice and late."""
    action = action_of(event)
    if event.kind not in _KINDS or (event.kind == "container" and action in _NOISE):
        return Affected()
    if action == "prune" or not event.actor or (event.kind == "network" and event.scope == "swarm"):
        return Affected(everything=event.kind)
    objects = [(event.kind, event.actor)]
    if event.kind == "network" and action in ("connect", "disconnect"):
        # Podman's actor is the container; asking for a network of that id does no harm.
        objects.append(("container", event.attributes.get("container") or event.actor))
    return Affected(tuple(objects))


class Ledger:
    """Counts each event once and notices when events are missing between two openings of the stream.

    On reopening, the engine replays from its ring what it still has. If the last event seen before is not
    among the first that come, then the ring was outgrown, or the engine restarted: events are missing. If none was
    seen before, then they are where a whole ring comes.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[int, str, str, str], None] = OrderedDict()
        self._last_time_nano = 0
        self._last_identity: tuple[int, str, str, str] | None = None
        self._awaited: tuple[int, str, str, str] | None = None
        self._was_open = False
        self._replayed: int | None = None
        self.counts: Counter[tuple[str, str]] = Counter(dict.fromkeys(_USUAL, 0))
        """Events by type and action; the usual ones are there at 0, since a first one is no increase otherwise."""
        self.out_of_memory: Counter[str] = Counter()
        """Out-of-memory events by container id."""
        self.gaps = 0

    def resume_point(self, otherwise_seconds: float) -> str:
        """From when to ask for events, as the engine wants it; `otherwise_seconds` if none was seen yet."""
        nano = self._last_time_nano - _OVERLAP_NANO if self._last_time_nano else int(otherwise_seconds * 1e9)
        return f"{nano // 1_000_000_000}.{nano % 1_000_000_000:09d}"

    def reopened(self) -> None:
        """Note that the stream was opened (again): the last event seen is expected to be replayed."""
        self._awaited = self._last_identity
        self._replayed = 0 if self._was_open and self._last_identity is None else None
        self._was_open = True

    def replay_ended(self) -> bool:
        """Note that the replay must be over; count a gap, and say so, if the last event did not come."""
        missing, self._awaited = self._awaited is not None, None
        self.gaps += missing
        return missing

    def stream_is_live(self) -> None:
        """Note that what comes now can't be a replay any more."""
        self._replayed = None

    def accept(self, event: Event) -> bool:
        """Count an event; False if it was counted before and so is a replay's repetition."""
        identity = (event.time_nano, event.kind, event.action, event.actor)
        if identity == self._awaited:
            self._awaited = None
        if identity in self._seen:
            return False
        if event.kind == UNREADABLE:
            self.gaps += 1  # what it told is missing
        else:
            self.replay_ended()
        self._seen[identity] = None
        if self._replayed is not None:
            self._replayed += 1
            if self._replayed == _RING:
                self._replayed = None
                self.gaps += 1
        # After a step of the engine's clock, time goes on from where it is now.
        if event.time_nano >= self._last_time_nano or 0 < event.time_nano < self._last_time_nano - _OVERLAP_NANO:
            self._last_time_nano, self._last_identity = event.time_nano, identity
        self._forget_seen()
        action = action_of(event)
        known = (event.kind, action) in self.counts or len(self.counts) < _MOST_COUNTED_ACTIONS
        self.counts[event.kind, action if known else "other"] += 1
        if event.kind == "container" and action == "oom":
            self.out_of_memory[event.actor] += 1
        elif event.kind == "container" and action in _END:
            self.out_of_memory.pop(event.actor, None)
        return True

    def _forget_seen(self) -> None:
        """Forget events that no replay repeats: older than the overlap, and more than the ring holds."""
        replayed = range(self._last_time_nano - 2 * _OVERLAP_NANO, self._last_time_nano + 1)
        while len(self._seen) > 2 * _RING and (
            next(iter(self._seen))[0] not in replayed or len(self._seen) > _MOST_SEEN
        ):
            self._seen.popitem(last=False)
