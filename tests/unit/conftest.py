import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from exporter import logs
from tests.harness.fake_engine import FakeEngine

settings.register_profile("default", max_examples=60, deadline=None)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("NETVOL_", "DOCKER_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logs_as_users_see_them() -> None:
    logs.configure("debug", "logfmt")


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A path short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="nv-") as folder:
        yield Path(folder) / "docker.sock"


@pytest.fixture
async def fake_engine(socket_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket_path).running() as engine:
        yield engine
