import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.stand_ins import make_base, make_exporter_image


@pytest.fixture(scope="session")
def private_engine(private_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """An engine whose data root is on a shared mount, as on a host with systemd, with the exporter's image."""
    private_engine.stop()  # two fight over docker0
    engine = PrivateEngine()
    engine.data_root.mkdir()
    subprocess.run(["mount", "--bind", str(engine.data_root), str(engine.data_root)], check=True)
    subprocess.run(["mount", "--make-shared", str(engine.data_root)], check=True)
    try:
        engine.start()
        make_base(engine)
        started = time.monotonic()
        make_exporter_image(engine)
        print(f"\nimage built in {time.monotonic() - started:.1f} s")
        yield engine
    finally:
        engine.remove()
        private_engine.start()
