"""The grading page: how soon pages are there among 10,000 candidates, and whether a grade is lost when it is killed.

    python benchmarks/grading.py
    python benchmarks/grading.py --repeats 0 --out benchmarks/results/grading_kills.json

Pages are timed over HTTP as the page of the browser and its one picture of 100 candidates, each from a server that was
just started, and in a headless Chromium where there is one, from the address to the drawn mosaic. Then two graders
answer at once, as fast as they are let, while the server is killed (SIGKILL) at random moments, started again, and
asked again for what nobody has confirmed: every confirmed answer must be there, and none twice. The server's own
processor time for a page says what a machine that does nothing else would take.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
from _common import parser, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from _cutouts import candidates
from _grading import Client, served, until

from giga.jobs.bench.measure import cpu_seconds

SIZE = 64  # of a cutout [pixels], in three bands


def over_http(folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of the first page behind the address, and of the pages after it, looked at for two seconds each."""
    first, following, processor = [], [], []
    for _ in range(repeats):
        with served(folder, "--grader", "anna") as (running, (address,)):
            client = Client(address, "anna")
            for page in range(4):
                if page == 1:
                    used = cpu_seconds(running.process.pid)
                start = time.perf_counter()
                client.get(f"/mosaic/{page}")
                client.get(f"/sheet/{page}?stretch=arcsinh&band=RGB")
                (following if page else first).append(time.perf_counter() - start)
                time.sleep(2.0)
            processor.append((cpu_seconds(running.process.pid) - used) / 3.0)
    return {"processor_s_a_page": float(np.median(processor)), "first_s": float(np.median(first)),
            "first_worst_s": max(first), "next_s": float(np.median(following)), "next_worst_s": max(following)}


def in_chromium(folder: Path, repeats: int) -> dict[str, float] | None:
    """The same in a browser; None without one."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--window-size=1280,1400"):
        options.add_argument(argument)
    first, following = [], []
    for _ in range(repeats):
        with served(folder, "--grader", "anna") as (_, (address,)):
            browser = webdriver.Chrome(options=options, service=Service(driver))
            try:
                browser.get("about:blank")
                for page in range(4):
                    start = time.perf_counter()
                    if page:
                        browser.execute_script("document.querySelector('[data-do=on]').click()")
                    else:
                        browser.get(address)
                    until(lambda page=page, browser=browser: f"/sheet/{page}?" in (browser.execute_script(
                        "return document.querySelector('.mosaic')?.dataset.ready") or ""), "the mosaic")
                    (following if page else first).append(time.perf_counter() - start)
                    time.sleep(2.0)
            finally:
                browser.quit()
    return {"first_s": float(np.median(first)), "first_worst_s": max(first), "next_s": float(np.median(following)),
            "next_worst_s": max(following)}


class Grader(threading.Thread):
    """One who answers without a pause until the server is gone."""

    def __init__(self, client: Client, asked: dict[str, tuple[int, str]], confirmed: set[str], state: dict[str, int]):
        super().__init__()
        self.client, self.asked, self.confirmed, self.state = client, asked, confirmed, state

    def run(self) -> None:
        """Ask again for what was not confirmed, then go on."""
        try:
            for act, (position, answer) in self.asked.items():
                if act not in self.confirmed:
                    self.post(act, position, answer)
            while True:
                act, position = uuid.uuid4().hex, self.state["position"]
                self.asked[act] = position, "nothing"
                self.state["position"] = position + 1
                self.post(act, position, "nothing")
        except OSError:
            return

    def post(self, act: str, position: int, answer: str) -> None:
        """Send an answer; it is confirmed when the server says so."""
        self.client.post("/answer", act=act, position=position, question="detect", answer=answer, seconds=1.0)
        self.confirmed.add(act)


def kills(folder: Path, count: int) -> dict[str, float]:
    """Kill the server while two graders answer; count what is lost and what is there twice."""
    random.seed(7)
    names = ("anna", "bob")
    asked: dict[str, dict[str, tuple[int, str]]] = {name: {} for name in names}
    confirmed: dict[str, set[str]] = {name: set() for name in names}
    state = {name: {"position": 0} for name in names}
    lost = twice = 0
    for kill in range(count + 1):
        with served(folder, "--grader", names[0], "--grader", names[1]) as (running, addresses):
            clients = [Client(address, name) for address, name in zip(addresses, names, strict=True)]
            for client, name in zip(clients, names, strict=True):
                there = [vote["position"] - 1 for vote in client.votes()]
                lost += len({asked[name][act][0] for act in confirmed[name]} - set(there))
                twice += len(there) - len(set(there))
            if kill == count:
                break
            graders = [Grader(client, asked[name], confirmed[name], state[name])
                       for client, name in zip(clients, names, strict=True)]
            for grader in graders:
                grader.start()
            time.sleep(random.uniform(0.2, 1.2))
            os.killpg(running.process.pid, signal.SIGKILL)
            for grader in graders:
                grader.join()
    given = sum(map(len, confirmed.values()))
    return {"kills": count, "graders": len(names), "confirmed": given, "lost": lost, "twice": twice}


def main() -> None:
    """Measure, and write what was found."""
    arguments = parser(__doc__, "grading")
    arguments.add_argument("--candidates", type=int, default=10000)
    arguments.add_argument("--kills", type=int, default=20, help="0 leaves them out")
    arguments.add_argument("--repeats", type=int, default=3, help="starts whose pages are timed; 0 leaves them out")
    options = arguments.parse_args()
    if options.smoke:
        options.candidates, options.kills, options.repeats = 400, 1, 1
    with tempfile.TemporaryDirectory() as place:
        folder = candidates(Path(place), options.candidates, SIZE)
        found = {"candidates": options.candidates, "page": 100, "cutout": [3, SIZE, SIZE]}
        if options.repeats:
            found |= {"http": over_http(folder, options.repeats), "chromium": in_chromium(folder, options.repeats)}
            for file in Path(place).glob("grading.sqlite*"):
                file.unlink()
        if options.kills:
            found["kill"] = kills(folder, options.kills)
    write(options.out, found)


if __name__ == "__main__":
    main()
