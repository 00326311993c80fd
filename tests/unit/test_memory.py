import subprocess
import sys

from tests.harness.exporter import REPOSITORY

PROGRAM = """
import threading
from pathlib import Path
from exporter.memory import return_free_memory, share_arenas
{first}
barrier = threading.Barrier(7)
def use():
    kept = [bytes(600) for _ in range(1000)]
    barrier.wait()
for _ in range(6):
    threading.Thread(target=use).start()
text = Path("/proc/self/maps").read_text()
# An arena of a thread is a mapping of 64 MiB, most of it not accessible (malloc/arena.c).
print(sum("---p 00000000 00:00 0" in line for line in text.splitlines()))
barrier.wait()
return_free_memory()
"""


def arenas(first: str) -> int:
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_threads_share_the_memory_that_the_c_library_manages() -> None:
    """Each would have an arena of its own otherwise."""
    assert arenas("share_arenas()") < arenas("")


def test_what_is_free_goes_back_to_the_kernel() -> None:
    program = (
        "from pathlib import Path; from exporter.memory import return_free_memory\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1])\n"
        "kept = [bytes(2000) for _ in range(20_000)]\n"
        "last = bytes(2000)\n"
        "del kept\n"
        "before = resident(); return_free_memory(); print(before - resident())\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert int(done.stdout) * 4096 > 10_000_000
