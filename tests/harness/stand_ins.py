"""Images under the names that the project pins, made here since none can be pulled.

They hold the same programs, from this machine's distribution: Python, Prometheus, Alertmanager, at the places and
as the user of the official images. For the socket proxy and Grafana, which it lacks, programs of a few lines stand
in: one that lets the same requests pass, and one that only waits.
"""

import contextlib
import functools
import http.server
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.harness.documents import commands
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import REPOSITORY

EXPORTER_IMAGE = "netvol-exporter:local"
_IMAGES = REPOSITORY / ".build/images"
_HARNESS = Path(__file__).parent

# In the official program they are built in.
_TEMPLATES = [f"/usr/share/prometheus/alertmanager/{name}.tmpl" for name in ("default", "email")]

_PROMETHEUS = """
FROM {base}
COPY prometheus promtool /bin/
RUN mkdir -p /etc/prometheus /prometheus && chown 65534:65534 /prometheus && ln -s busybox /bin/wget
USER 65534:65534
EXPOSE 9090
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""
_ALERTMANAGER = """
FROM {base}
COPY prometheus-alertmanager /bin/alertmanager
COPY amtool /bin/
COPY default.tmpl email.tmpl /usr/share/prometheus/alertmanager/
RUN mkdir -p /etc/alertmanager /alertmanager && chown 65534:65534 /alertmanager && ln -s busybox /bin/wget
USER 65534:65534
EXPOSE 9093
VOLUME /alertmanager
WORKDIR /alertmanager
ENTRYPOINT ["/bin/alertmanager"]
CMD ["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"]
"""
_GRAFANA = """
FROM {base}
RUN mkdir -p /etc/grafana /var/lib/grafana && chown 472:0 /var/lib/grafana && ln -s busybox /bin/wget
USER 472:0
EXPOSE 3000
STOPSIGNAL SIGKILL
ENTRYPOINT ["sleep", "infinity"]
"""
_SOCKET_PROXY = """
FROM {base}
COPY socket_proxy.py /
RUN ln -s /bin/true /healthcheck
USER 65534:65534
EXPOSE 2375
STOPSIGNAL SIGKILL
ENTRYPOINT ["python3", "/socket_proxy.py"]
"""


def base_name() -> str:
    """The image that the Dockerfile builds on."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def make_base(engine: PrivateEngine) -> None:
    """Give the engine the base of all other images."""
    archive = _IMAGES / "base.tar"
    assert archive.exists(), "the base of the images is missing: scripts/setup.sh test makes it"
    _docker(engine, "import", str(archive), base_name())


def make_exporter_image(engine: PrivateEngine) -> None:
    """Build the exporter's image as docs/install.md says; only where pip finds packages is other."""
    with _wheels() as address:
        where = f"--network host --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS={address}"
        command = commands("docs/install.md", "Image").replace("docker build ", f"docker build {where} ")
        assert EXPORTER_IMAGE in command
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=REPOSITORY,
            env=engine.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def make_stand_ins(engine: PrivateEngine, names: set[str]) -> None:
    """Make the images that these pinned names stand for."""
    for name in names:
        repository = name.partition(":")[0]
        dockerfile, programs = {
            "prom/prometheus": (_PROMETHEUS, ["prometheus", "promtool"]),
            "prom/alertmanager": (_ALERTMANAGER, ["prometheus-alertmanager", "amtool", *_TEMPLATES]),
            "grafana/grafana": (_GRAFANA, []),
            "wollomatic/socket-proxy": (_SOCKET_PROXY, [str(_HARNESS / "socket_proxy.py")]),
        }[repository]
        with tempfile.TemporaryDirectory(prefix="netvol-test-image-") as context:
            (Path(context) / "Dockerfile").write_text(dockerfile.format(base=base_name()))
            for program in programs:
                path = shutil.which(program) or program
                shutil.copy(path, context)
            _docker(engine, "build", "--tag", name, context)


@contextlib.contextmanager
def _wheels() -> Iterator[str]:
    """Serve the locked packages to the build, which has no way out."""
    handler = functools.partial(_Quiet, directory=str(_IMAGES / "wheels"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of the base class
        pass


def _docker(engine: PrivateEngine, *arguments: str) -> None:
    done = subprocess.run(
        ["docker", *arguments], env=engine.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
