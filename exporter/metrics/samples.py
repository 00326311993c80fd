"""What a collector hands to the page: families with samples, their label sets escaped once and kept."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NewType, Protocol

from exporter.metrics.catalogue import Family

LabelSet = NewType("LabelSet", str)
"""A rendered label set with its trailing space, such as `{network="app"} `; it holds nothing unescaped.

The text is the same for all families of one object, so a collector makes it once for an object and reuses it
for each family and page: a page of 80,000 samples is then a join of strings that exist already.
"""

Sample = tuple[LabelSet, int | float]
FamilySamples = tuple[Family, Iterable[Sample]]

NO_LABELS = LabelSet(" ")

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def label_set(names: Sequence[str], values: Sequence[str], *, suffix: str = "") -> LabelSet:
    r"""Render a label set, with `\`, `"` and line feed escaped as the exposition formats demand.

    A page is UTF-8, which has no lone surrogates, while the engine's JSON can have them: they are written as text,
    `\ud800`, so that two names that differ stay different.

    `suffix` is what a histogram's series carry behind the family's name: `_bucket`, `_count` or `_sum`.

    Raises ValueError if there are not as many values as names.
    """
    if not names:
        return LabelSet(f"{suffix} ")
    pairs = ",".join(
        f'{name}="{_unicode(value).translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)
    )
    return LabelSet(f"{suffix}{{{pairs}}} ")


class LabelSets:
    """Renders each label set once, and keeps it for as long as each round asks for it again.

    Asking for one takes a seventh of the time of rendering it: who describes all objects anew because one changed
    has those of the others already.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[Sequence[str], Sequence[str]], LabelSet] = {}
        self._kept: dict[tuple[Sequence[str], Sequence[str]], LabelSet] = {}

    def next_round(self) -> None:
        """Forget what was not asked for since the round before."""
        self._before, self._kept = self._kept, {}

    def __call__(self, names: tuple[str, ...], values: tuple[str, ...]) -> LabelSet:
        """What `label_set` gives."""
        key = (names, values)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._before.get(key) or label_set(names, values)
        return found


def _unicode(text: str) -> str:
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


class Collector(Protocol):
    """A part that has something to say on the page."""

    @property
    def name(self) -> str:
        """The value of the label `collector` and of the flag `--collector.NAME`."""

    def samples(self) -> Iterator[FamilySamples]:
        """Its families with their samples, each family once, from what it knows now: no I/O, no waiting.

        A value that is not known is left out; it is never -1, 0 or NaN.
        """
