#!/usr/bin/env python3
"""The page for operators in a real browser: `page.py --server PATH [--seconds 20] [--screenshots DIR]`.

A busy server with evictions, expiries, slow commands and hostile names is looked at in headless Chromium, on a telephone, on
a desk in light and in dark, and on a wall. Needs Chromium and Playwright (`scripts/oracles.sh browser`); without them every
promise is skipped. Prints `ok - NAME` or `not ok - NAME: why`. With `--screenshots`, which needs Pillow, page-light.png and
page-dark.png are written there: `--seconds 300` fills the charts.
"""

import argparse
import random
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.promises import Skipped, kept, name_of  # noqa: E402
from harness.resp import Connection, encode  # noqa: E402
from harness.server import Server, free_port  # noqa: E402

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Width, height, colours: a telephone, a desk, a desk at night, a wall.
SCREENS = ((320, 640, "light"), (1280, 900, "light"), (1280, 900, "dark"), (2560, 1440, "dark"))
SCREENSHOTS = {(1280, "light"): "page-light.png", (1280, "dark"): "page-dark.png"}
SCREENSHOT_BYTES_MAX = 200 << 10
HOSTILE = "<img src=x onerror=document.title='broken'>"
# Chromium's word for a status that a promise provokes.
EXPECTED_401 = "status of 401"

# Sections whose text beyond the heading is empty, and charts that show one colour at most.
EMPTY_SECTIONS = """[...document.querySelectorAll("section")].filter((section) => {
  const title = section.querySelector("h2").innerText;
  const canvases = [...section.querySelectorAll("canvas")].filter((canvas) => canvas.offsetParent);
  const blank = (canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(data.buffer)).size < 3 || !canvas.getAttribute("aria-label").includes(", ");
  };
  return section.innerText.replace(title, "").trim().length < 3 || canvases.some(blank);
}).map((section) => section.querySelector("h2").innerText)"""


@contextmanager
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if sync_playwright is None or path is None:
        raise Skipped("no browser: scripts/oracles.sh browser installs one")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield chromium
        finally:
            chromium.close()


class Window:
    """A page in a context of its own, with all that it complained of and asked for."""

    def __init__(self, chromium, width: int = 1280, height: int = 900, colours: str = "light"):
        self.context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=colours)
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, admin: int) -> "Window":
        self.page.goto(f"http://127.0.0.1:{admin}/")
        return self

    def says(self, text: str) -> None:
        self.until(f"the page says {text!r}", lambda: text in self.page.locator("#state").inner_text())

    def until(self, what: str, holds) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, f"not after 20 seconds: {what}; {self.complaints}"
            self.page.wait_for_timeout(50)

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_) -> None:
        self.context.close()


@contextmanager
def busy_server(path: str, seconds: float):
    """A server with something to show in each section, which has been busy for some time."""
    admin = free_port()
    directives = {"admin-port": str(admin), "appendonly": "yes", "appendfsync": "always", "maxmemory": "5mb",
                  "maxmemory-policy": "allkeys-lru", "slowlog-log-slower-than": "5000", "enable-debug-command": "yes"}
    with Server(path, directives) as server:
        client = Connection(server.port)
        client.call("CLIENT", "SETNAME", "batch-import")
        client.call("HOTKEYS", "START", "METRICS", "2", "CPU", "NET")
        client.call("SET", f"{HOSTILE}:1", "x" * 100_000)
        client.call("EVAL", "local t = 0 for i = 1, 3e6 do t = t + i end return redis.call('GET', KEYS[1])", "1", f"{HOSTILE}:1")
        stop = threading.Event()
        loads = [threading.Thread(target=load, args=(server.port, stop, n)) for n in range(3)]
        for thread in loads:
            thread.start()
        try:
            time.sleep(seconds)
            yield admin, server
        finally:
            stop.set()
            for thread in loads:
                thread.join()


def load(port: int, stop: threading.Event, seed: int) -> None:
    """Reads and writes of a shop, in waves; now and then something slow."""
    client, draw, began = Connection(port), random.Random(seed), time.monotonic()
    client.call("CLIENT", "SETNAME", f"shop-{seed}")
    while not stop.is_set():
        age = time.monotonic() - began
        for _ in range(draw.randint(2, 5 if int(age / 45) % 2 else 12)):
            user = int(draw.paretovariate(0.4)) % 100_000
            words = (("GET", f"session:{user}"),
                     ("SET", f"session:{user}", "s" * draw.randint(50, 900), "PX", str(draw.randint(2_000, 60_000))),
                     ("HSET", f"cart:{user % 20_000}", "item", str(user), "text", "t" * draw.randint(0, 1_500)),
                     ("ZINCRBY", "ranking:sales", "1", str(user % 5_000)))
            client.send_raw(b"".join(encode([word.encode() for word in command]) for command in words))
            for _ in words:
                client.read()
        if draw.random() < 0.02:
            client.call("EVAL", "local t = 0 for i = 1, 2e6 do t = t + i end return t", "0")
        stop.wait(0.02)


def sections_have_content_on_every_screen(server: str, seconds: float, screenshots: Path | None) -> None:
    with browser() as chromium, busy_server(server, seconds) as (admin, _):
        for width, height, colours in SCREENS:
            with Window(chromium, width, height, colours) as window:
                window.open(admin).says("Up to date")
                # Also the time before anybody looked.
                shown = window.page.evaluate("state.samples.length")
                assert shown >= seconds // 2 - 1, f"{shown} samples after {seconds} seconds"
                window.until("each section has content", lambda: not window.page.evaluate(EMPTY_SECTIONS))
                wide, seen = window.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert wide <= seen, f"{wide} pixels of contents in a window of {seen}"
                window.page.select_option("#command", "set")
                window.page.locator("#ops").focus()
                window.page.keyboard.press("ArrowLeft")
                assert ":" in window.page.locator("#ops + .legend li").first.inner_text(), "the time that is pointed at"
                window.page.keyboard.press("Escape")
                window.page.select_option("#command", "")
                assert not window.complaints, window.complaints
                elsewhere = [url for url in window.requests if not url.startswith(f"http://127.0.0.1:{admin}/")]
                assert not [url for url in elsewhere if url != "data:,"], elsewhere
                name = SCREENSHOTS.get((width, colours))
                if screenshots and name:
                    window.page.evaluate("document.activeElement.blur()")
                    window.page.screenshot(path=screenshots / name, full_page=True)
                    make_small(screenshots / name)


def make_small(picture: Path) -> None:
    from PIL import Image
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    size = picture.stat().st_size
    assert size <= SCREENSHOT_BYTES_MAX, f"{picture.name} has {size} bytes"


def hostile_names_are_shown_as_text(server: str, *_) -> None:
    with browser() as chromium, busy_server(server, 0) as (admin, _), Window(chromium) as window:
        window.open(admin).says("Up to date")
        for section in ("#slow", "#hot", "#prefixes"):
            window.until(f"the name is in {section}", lambda: HOSTILE in window.page.locator(section).inner_text())
        assert window.page.locator("main img").count() == 0 and window.page.title() == "memkv"
        assert not window.complaints, window.complaints


def the_token_is_asked_for_and_remembered(server: str, *_) -> None:
    admin = free_port()
    with browser() as chromium, Server(server, {"admin-port": str(admin), "admin-token": "größe"}), Window(chromium) as window:
        window.open(admin).says("The token is missing.")
        for token, answer in (("wrong", "That is not the token."), ("größe", "Up to date")):
            window.page.fill("#token", token)
            window.page.click("#login button")
            window.says(answer)
        window.page.reload()
        window.says("Up to date")
        assert not window.page.locator("#login").is_visible()
        assert all(EXPECTED_401 in complaint for complaint in window.complaints), window.complaints


def a_server_that_is_gone_or_another_is_noticed(server: str, *_) -> None:
    admin = free_port()
    directives = {"admin-port": str(admin)}
    with browser() as chromium, Window(chromium) as window:
        with Server(server, directives):
            window.open(admin).says("Up to date")
            window.until("two samples are shown", lambda: window.page.evaluate("state.last") >= 2)
        window.says("No answer from the server.")
        with Server(server, directives):
            window.says("Up to date")
            window.until("its own samples are shown", lambda: window.page.evaluate("state.samples.length && state.samples[0].number") == 1)


def a_save_a_rewrite_and_a_load_show_how_far_they_are(server: str, *_) -> None:
    admin = free_port()
    # Half a millisecond a key: ten seconds each.
    directives = {"admin-port": str(admin), "enable-debug-command": "yes", "rdb-key-save-delay": "500"}
    with browser() as chromium, Window(chromium) as window, Server(server, directives) as running:
        client = Connection(running.port)
        client.call("DEBUG", "POPULATE", "20000", "key", "100")
        for command, label in (("BGSAVE", "Saving a snapshot"), ("BGREWRITEAOF", "Rewriting the log")):
            client.call(command)
            window.open(admin)
            moves_on(window, label)
            client.call("CONFIG", "SET", "rdb-key-save-delay", "0")
            window.until(f"it has ended: {label}", lambda: "Nothing is being saved or loaded." in window.page.locator("#save").inner_text())
            client.call("CONFIG", "SET", "rdb-key-save-delay", "500")
        client.call("CONFIG", "SET", "rdb-key-save-delay", "0")
        client.call("SAVE")
        running.terminate()
        running.directives = {**directives, "key-load-delay": "500"}
        running.start(ready=False)
        window.open(admin)
        moves_on(window, "Loading")
        Connection(running.port).call("CONFIG", "SET", "key-load-delay", "0")
        window.until("it has ended: Loading", lambda: "Nothing is being saved or loaded." in window.page.locator("#save").inner_text())
        assert not window.complaints, window.complaints


def moves_on(window: Window, label: str) -> None:
    """The page shows how far something is and how long it will take, and that it goes on."""
    bar = window.page.locator(f"#save progress[aria-label='{label}']")
    window.until(f"a bar is shown: {label}", lambda: bar.count() == 1)
    share = lambda: bar.evaluate("bar => bar.value / bar.max") if bar.count() else 1  # noqa: E731
    first = share()
    window.until(f"it goes on: {label}", lambda: first < share() < 1)
    text = window.page.locator("#save").inner_text()
    assert f"{label}: " in text and " left" in text and "%" in text, text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--seconds", type=float, default=20, help="how long the server is busy before it is looked at")
    parser.add_argument("--screenshots", type=Path, help="directory for the pictures")
    options = parser.parse_args()
    promises = (sections_have_content_on_every_screen, hostile_names_are_shown_as_text, the_token_is_asked_for_and_remembered,
                a_server_that_is_gone_or_another_is_noticed, a_save_a_rewrite_and_a_load_show_how_far_they_are)
    arguments = (options.server, options.seconds, options.screenshots)
    return 0 if all([kept(name_of(promise), promise, *arguments) for promise in promises]) else 1


if __name__ == "__main__":
    sys.exit(main())
