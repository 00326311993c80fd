"""Draws each dashboard over a real Prometheus with a made-up history in a real browser: `make screenshots`.

Grafana itself is not needed: `render.tsx` draws with Grafana's own components.
"""

import argparse
import functools
import http.server
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

from tests.harness import history
from tests.harness.prometheus import PrometheusServer

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BUILD = REPOSITORY / ".build/browser"
IMAGES = REPOSITORY / "docs/images"
BOARDS = ("netvol-overview", "netvol-networks", "netvol-volumes", "netvol-exporter")
WIDTH = 1600
STEP = 60
SHOWN_HOURS = 6


def bundle() -> None:
    """Install the locked packages where git does not look, and make one script of them."""
    BUILD.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_bytes()
    if not (BUILD / "installed").exists() or (BUILD / "installed").read_bytes() != lock:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, BUILD)
        subprocess.run(["npm", "ci", "--loglevel=error"], cwd=BUILD, check=True)
        (BUILD / "installed").write_bytes(lock)
    shutil.copy(HERE / "render.tsx", BUILD)
    options = ["--bundle", "--minify", "--jsx=automatic", "--outfile=render.js", "--log-level=error"]
    loaders = [f"--loader:{suffix}=dataurl" for suffix in (".svg", ".ttf", ".woff2")]
    production = '--define:process.env.NODE_ENV="production"'
    subprocess.run(["npx", "esbuild", "render.tsx", *options, *loaders, production], cwd=BUILD, check=True)
    (BUILD / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/render.css">'
        '<body style="margin:0"><div id="root"></div><script src="/render.js"></script>'
    )


class Handler(http.server.SimpleHTTPRequestHandler):
    """The page, the dashboards, and Prometheus behind the same address."""

    prometheus = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = {"Content-Type": self.headers["Content-Type"]}
        request = urllib.request.Request(self.prometheus + self.path, body, kind)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read())

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dashboards/"):
            self._answer(200, (REPOSITORY / "dashboards/json" / path.rpartition("/")[2]).read_bytes())
        else:
            super().do_GET()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(prometheus: PrometheusServer) -> Iterator[str]:
    handler = type("Bound", (Handler,), {"prometheus": prometheus.url})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(BUILD)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def take(address: str, board: str, end: float, image: Path) -> list[str]:
    """A picture of a whole dashboard; gives what went wrong."""
    query = f"board={board}&from={end - SHOWN_HOURS * 3600:.0f}&to={end:.0f}&step={2 * STEP}&width={WIDTH}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/?{query}")
        try:
            page.wait_for_function("window.ready || window.errors?.length", timeout=30_000)
        except Error as error:
            errors.append(str(error))
        # Tables draw what is in sight, so all must be.
        page.set_viewport_size({"width": WIDTH, "height": page.evaluate("document.body.scrollHeight")})
        page.wait_for_timeout(2500)  # the curves are drawn in later frames, of which nothing tells the end
        errors += page.evaluate("window.errors")
        page.locator("#root > div").screenshot(path=image)
        browser.close()
    return errors


def main() -> int:
    """Take all pictures; 1 if a panel failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--projects", type=int, default=history.Scale.projects, help="networks on each host")
    parser.add_argument("--hosts", type=int, default=history.Scale.hosts)
    parser.add_argument("--hours", type=int, default=13, help="of history; six are shown, and look six back")
    arguments = parser.parse_args()
    scale = history.Scale(hosts=arguments.hosts, projects=arguments.projects)
    bundle()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    end = float(int(time.time()) // STEP * STEP - STEP)
    failed = False
    with tempfile.TemporaryDirectory(prefix="netvol-screenshots-") as folder:
        data = history.make_blocks(Path(folder), scale, end - arguments.hours * 3600, end, STEP)
        with PrometheusServer(data=data) as prometheus, serving(prometheus) as address:
            for board in BOARDS:
                image = arguments.folder / f"{board}.png"
                errors = take(address, board, end, image)
                subprocess.run(["pngquant", "--force", "--ext=.png", "--nofs", "32", str(image)], check=True)
                print(f"{board}: {image.stat().st_size // 1000} kB" + "".join(f"\n  {error}" for error in errors))
                failed |= bool(errors)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
