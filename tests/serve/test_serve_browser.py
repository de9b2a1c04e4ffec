"""The page in a real browser: `pip install playwright`, and Chromium (Debian's package, or playwright's)."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.serving import call, wait_for
from lightning_mav import Cascade
from lightning_mav.data.video import write_mp4
from lightning_mav.serve.formats import FORMATS
from lightning_mav.serve.uses import USES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
pytest.importorskip("gradio", reason="gradio is not installed: pip install 'lightning-mav[app]'")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
httpx = pytest.importorskip("httpx")

PORT = 7931
ADDRESS = f"http://127.0.0.1:{PORT}"
MEMORY_CAP = 3 * 2**30  # bytes of the server with 50 clients, at scale micro
HOLD = 60_000  # milliseconds that the browser waits for a thing


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """``mav serve`` as a user runs it, with the weights of the micro-world."""
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-m", "lightning_mav", "serve", "--weights", "micro", "--port", str(PORT)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    log = (out / "log").open("w")
    process = subprocess.Popen([*command, "--out", str(out)], stdout=log, stderr=log, env=environment)
    wait_for(lambda: "open http" in (out / "log").read_text() or process.poll() is not None, 180)
    assert process.poll() is None, (out / "log").read_text()
    yield process
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert "Traceback" not in (out / "log").read_text()


@pytest.fixture(scope="module")
def browser(server):
    with playwright.sync_playwright() as driver:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        if path is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    cascade = Cascade.from_pretrained("micro", "cpu", until="interpolation")
    output = cascade("a large red ball", until="interpolation", frame_skip=1)
    write_mp4(folder / "video", output.video[0], 8.0)
    output.to_pil()[0][0].resize((96, 96)).save(folder / "image", "PNG")
    return folder


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    outside = []
    page.on("request", lambda request: outside.append(request.url) if is_outside(request.url) else None)
    page.goto(ADDRESS)
    page.get_by_label("Prompt").wait_for()
    yield page
    context.close()
    assert outside == []


def is_outside(address):
    return not address.startswith((ADDRESS, "data:", "blob:"))


def ask(page, prompt):
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Generate", exact=True).click()


def until_done(page, text=""):
    page.locator("#mav-status", has_text=re.compile("Done in")).wait_for(timeout=HOLD * 3)
    if text:
        assert text in page.locator("#mav-videos video").last.get_attribute("aria-label")


def plays(page, selector):
    video = page.locator(selector)
    video.wait_for(timeout=HOLD)
    wait = "(video) => video.currentTime > 0 && !video.error && video.videoWidth > 0"
    wait_for(lambda: video.evaluate(wait))


@pytest.mark.parametrize("prompt", ["a large red ball", "ein großer roter Ball"])
def test_a_prompt_becomes_three_videos_in_turn(page, prompt):
    ask(page, prompt)
    page.locator("#mav-progress progress").wait_for()
    assert re.search(r"\d+%, about \d+ (s|min) left", page.locator("#mav-progress").inner_text())
    for slot, stages in enumerate((["decoder"], ["interpolation"], ["sr_lt", "sr_h"])):
        page.locator(f"#mav-slot-{slot} video").wait_for(timeout=HOLD)
        shown = page.locator(f"#mav-slot-{slot} video").get_attribute("src")
        assert Path(shown).stem in stages
    until_done(page, prompt)
    for slot in range(3):
        plays(page, f"#mav-slot-{slot} video")
    assert page.locator("#mav-progress progress").count() == 0


def test_each_format_is_downloaded(page, tmp_path):
    ask(page, "a large purple ring")
    until_done(page)
    for kind, (title, ending, _) in FORMATS.items():
        with page.expect_download(timeout=HOLD) as started:
            page.get_by_role("link", name=title, exact=True).click()
        path = tmp_path / kind
        started.value.save_as(path)
        assert started.value.suggested_filename == f"a-large-purple-ring-0{ending}"
        assert path.stat().st_size > 1000


@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.files])
def test_each_tab_makes_a_video_of_a_file(page, files, name):
    use = USES[name]
    page.get_by_role("tab", name=use.title).click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    for number, kind in enumerate(use.files):
        panel.locator("input[type=file]").first.set_input_files(files / kind)
        panel.get_by_role("button", name=re.compile("Clear|Remove")).nth(number).wait_for()
    page.locator(f"#mav-{name}").click()
    until_done(page, f"{use.title}: ")
    plays(page, "#mav-slot-2 video")


def test_two_sentences_are_blended(page):
    page.get_by_role("tab", name="Blend").click()
    page.get_by_label("First sentence").fill("a large red ball")
    page.get_by_label("Second sentence").fill("a blue star")
    page.locator("#mav-blend").click()
    until_done(page, "a large red ball | a blue star")
    plays(page, "#mav-slot-2 video")


def test_a_page_that_is_reloaded_or_closed_finds_its_video(page):
    ask(page, "a small green square")
    page.locator("#mav-slot-0 video").wait_for(timeout=HOLD)
    page.reload()
    page.locator("#mav-slot-0 video").wait_for(timeout=HOLD)
    assert page.get_by_label("Prompt").input_value() == "a small green square"
    other = page.context.new_page()
    page.close()
    other.goto(ADDRESS)  # without the id in its address
    until_done(other, "a small green square")
    assert "?job=" in other.url
    assert other.locator("#mav-gallery li").count() == 1


def test_it_is_cancelled_and_the_queue_is_shown(page):
    ask(page, "a large yellow triangle")
    page.locator("#mav-progress progress").wait_for()
    second = page.context.new_page()
    second.goto(ADDRESS + "/?job=none")
    second.get_by_label("Prompt").wait_for()
    ask(second, "a large red star")
    second.get_by_text("In the queue: number 2").wait_for(timeout=HOLD)
    second.get_by_label("Queue: yours is number 2 of 2").wait_for()
    second.get_by_role("button", name="Cancel").click()
    second.get_by_text("Cancelled.").wait_for(timeout=HOLD)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for(timeout=HOLD)


def test_the_keyboard_and_names_for_screen_readers_suffice(page):
    page.get_by_label("Prompt").focus()
    page.keyboard.type("a large red ball")
    page.keyboard.press("Enter")
    page.locator("#mav-status[role=status][aria-live=polite]", has_text="...").wait_for(timeout=HOLD)
    unnamed = page.locator("button:visible, a:visible, input:visible, textarea:visible").evaluate_all(
        "(all) => all.filter((each) => !each.innerText && !each.ariaLabel && !each.title)"
        ".filter((each) => !each.labels?.length).map((each) => each.outerHTML.slice(0, 200))"
    )
    assert unnamed == []
    until_done(page)
    names = []
    for _ in range(40):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.innerText || document.activeElement.tagName"))
    assert {"MP4", "GIF", "Copy settings"} <= set(names)


def test_a_refusal_is_told(page):
    ask(page, "x" * 301)
    page.get_by_text("301 characters: at most 300 are allowed").wait_for()


def test_a_phone_shows_all_without_scrolling_sideways(browser, page):
    ask(page, "a large red ball")
    until_done(page)
    phone = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    small = phone.new_page()
    small.goto(page.url)
    until_done(small)
    assert small.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = [box.bounding_box() for box in small.locator(".mav-file, .mav-copy, #mav-generate").all()]
    assert min(box["height"] for box in boxes) >= 24  # WCAG 2.2, target size
    phone.close()


def test_fifty_clients_at_once_keep_memory_under_the_cap(server):
    begin, codes, most = threading.Barrier(50), [], [0]
    stop = threading.Event()

    def measure():
        while not stop.wait(0.2):
            text = Path(f"/proc/{server.pid}/status").read_text()
            most[0] = max(most[0], 1024 * int(re.search(r"VmRSS:\s+(\d+)", text)[1]))

    def one(number):
        with httpx.Client(base_url=ADDRESS, timeout=800) as client:
            client.event_hooks["response"] = [lambda response: codes.append(response.status_code)]
            begin.wait()
            client.get("/")
            status, answer = call(client, "generate", [f"a large red ball {number}", 0, 1, None, None, None])
            shown = call(client, "watch", [answer[0], []])[1] if isinstance(answer, list) else None
            return status, answer, shown

    watcher = threading.Thread(target=measure, daemon=True)
    watcher.start()
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(one, range(50)))
    stop.set()
    accepted = [shown for _, answer, shown in results if isinstance(answer, list)]
    assert {code for code in codes if code >= 500} <= {503}
    assert len(accepted) >= 16
    assert all("Busy" in answer for _, answer, _ in results if isinstance(answer, str))
    assert all("Done in" in str(shown) for shown in accepted)
    assert most[0] < MEMORY_CAP, f"{most[0] / 2**20:.0f} MiB"
