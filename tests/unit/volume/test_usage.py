import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.volume.usage import MeasureError, Walker, parse_directory, parse_measurement, parse_space
from exporter.volume.walker import usage


@pytest.fixture
async def walker() -> AsyncIterator[Walker]:
    walker = Walker("test")
    yield walker
    await walker.close()


async def test_a_walk_in_the_child_is_the_walk(walker: Walker, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    found = await walker.usage(str(tmp_path), 10)
    assert (found.used_bytes, found.inodes_used) == usage(str(tmp_path))
    assert found.seconds > 0


async def test_the_child_gives_way_to_everything_else(walker: Walker, tmp_path: Path) -> None:
    await walker.usage(str(tmp_path), 10)
    assert walker.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, walker.pid) == 19


async def test_the_same_child_answers_again(walker: Walker, tmp_path: Path) -> None:
    await walker.usage(str(tmp_path), 10)
    pid = walker.pid
    space = await walker.space(str(tmp_path), 10)
    assert space.size_bytes > 0
    assert walker.pid == pid


async def test_a_reason_comes_with_the_error(walker: Walker, tmp_path: Path) -> None:
    with pytest.raises(MeasureError) as error:
        await walker.usage(str(tmp_path / "none"), 10)
    assert error.value.reason == "missing"


async def test_a_child_that_hangs_is_killed_and_replaced(walker: Walker, tmp_path: Path) -> None:
    await walker.usage(str(tmp_path), 10)
    assert walker.pid is not None
    hanging = walker.pid
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(MeasureError) as error:
        await walker.usage(str(tmp_path), 0.2)
    assert error.value.reason == "timeout"
    assert not Path(f"/proc/{hanging}").exists()
    await walker.usage(str(tmp_path), 10)
    assert walker.pid != hanging


async def test_a_child_that_dies_is_replaced(walker: Walker, tmp_path: Path) -> None:
    await walker.usage(str(tmp_path), 10)
    assert walker.pid is not None
    os.kill(walker.pid, signal.SIGKILL)
    with pytest.raises(MeasureError) as error:
        await walker.usage(str(tmp_path), 10)
    assert error.value.reason == "died"
    await walker.usage(str(tmp_path), 10)


async def test_questions_wait_for_their_turn(walker: Walker, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(walker.usage(str(tmp_path), 10)) for _ in range(5)]
    assert len({task.result().used_bytes for task in tasks}) == 1


async def test_a_child_that_cannot_be_started_is_a_reason_and_tried_again(
    walker: Walker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", str(tmp_path / "none"))
        with pytest.raises(MeasureError) as error:
            await walker.usage(str(tmp_path), 10)
        assert error.value.reason == "died"
    await walker.usage(str(tmp_path), 10)


@pytest.mark.parametrize("path", ["/x\0y", "/\ud800", "/" + "x" * 5000])
async def test_a_path_that_no_file_can_have_is_an_error_and_the_child_lives_on(walker: Walker, path: str) -> None:
    for ask in (walker.usage, walker.space, walker.directory):
        with pytest.raises(MeasureError) as error:
            await ask(path, 10)
        assert error.value.reason == "io"
    await walker.space("/", 10)


@pytest.mark.parametrize(
    "answer",
    [b"7\n", b"[]\n", b"{}\n", b"{half\n", b'{"used_bytes": -1, "inodes_used": 1, "seconds": 0}\n', b"[" * 10**5],
)
def test_an_answer_of_another_form_is_an_error(answer: bytes) -> None:
    for parse in (parse_space, parse_directory, parse_measurement):
        with pytest.raises(MeasureError) as error:
            parse(answer)
        assert error.value.reason == "io"
