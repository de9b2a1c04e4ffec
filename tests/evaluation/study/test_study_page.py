"""The page of a human study in a browser, used as raters use it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from lightning_mav import cli
from lightning_mav.data.export import save_video
from lightning_mav.evaluation.report import load_report
from lightning_mav.evaluation.study import load_study

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium, chromium-browser or google-chrome"),
]
PROMPTS = ["a red car", "ein grüner Stern", '<b>bold</b> & "quoted"']
# What can be used, and has no name that a screen reader could say.
UNNAMED = """[...document.querySelectorAll("button, input, textarea, a")]
  .filter((one) => one.checkVisibility() && !one.innerText && !one.labels?.length && !one.ariaLabel)
  .map((one) => one.outerHTML)"""
PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study of three pairs; videos last half a second."""
    root = tmp_path_factory.mktemp("study")
    for i, prompt in enumerate(PROMPTS):
        for folder, level in (("ours", -0.5), ("theirs", 0.5)):
            (root / folder).mkdir(exist_ok=True)
            save_video(root / folder / f"{i}.mp4", torch.full((3, 8, 32, 32), level), 16.0)
            (root / folder / f"{i}.json").write_text(json.dumps({"prompt": prompt}))
    folders = [str(root / "ours"), str(root / "theirs")]
    cli.run(["study", "make", *folders, "--out", str(root / "page"), "--seed", "1"])
    return root


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, place):
    """Opens the page from the disk; whatever it asks of the network, and any error in it, fails the test."""
    contexts, wrong = [], []

    def open_page(folder=place / "page", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.route(
            lambda url: not url.startswith(("file:", "data:", "blob:")), lambda route: wrong.append(route)
        )
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(error))  # playwright takes no built-in method
        page.goto((folder / "index.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def start(page, rater="Anna"):
    page.get_by_label("Your name").fill(rater)
    page.get_by_role("button", name="Start").click()


def sources(page):
    """Returns the identifiers of the videos that are shown, once both were seen."""
    page.wait_for_function("document.querySelector('#choose-1').getAttribute('aria-disabled') === 'false'")
    return page.evaluate(
        "[1, 2].map((n) => document.querySelector(`#video-${n}`).src.match(/(\\w+)\\.mp4$/)[1])"
    )


def vote(page, wanted, press):
    """Chooses the video that is in ``wanted``."""
    number = [source in wanted for source in sources(page)].index(True) + 1
    press(page, number)


def saved(page, folder):
    with page.expect_download() as download:
        page.get_by_role("link", name="Save my answers").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


PRESS = {
    "digits": lambda page, number: page.keyboard.press(str(number)),
    "arrows": lambda page, number: page.keyboard.press(["ArrowLeft", "ArrowRight"][number - 1]),
    "buttons": lambda page, number: page.get_by_role("button", name=["First", "Second"][number - 1]).click(),
    "fingers": lambda page, number: page.get_by_role("button", name=["First", "Second"][number - 1]).tap(),
}


def test_raters_who_prefer_a_system_are_counted_for_it(open_page, place, tmp_path):
    study = load_study(place / "page.key.json")
    ours, theirs = ({getattr(pair, side) for pair in study.pairs} for side in "ab")
    files = []
    for rater, way in enumerate(PRESS):
        page = open_page(**(PHONE if way == "fingers" else {}))
        start(page, f"rater {rater}")
        for step in range(2 * len(PROMPTS)):
            vote(page, theirs if step % 2 else ours, PRESS[way])  # quality and faithfulness in turn
        files.append(saved(page, tmp_path))
    assert [path.name for path in files] == [f"votes-rater-{rater}.json" for rater in range(4)]
    key, out = str(place / "page.key.json"), str(tmp_path / "out")
    cli.run(["study", "count", *map(str, files), "--key", key, "--raters", "4", "--out", out])
    quality, faithfulness = load_report(Path(out)).figures
    assert (quality.value, faithfulness.value, quality.n) == (1.0, 0.0, 3)


def test_the_text_is_shown_for_faithfulness_alone_and_as_it_is(open_page):
    page, shown = open_page(), []
    start(page)
    for _ in PROMPTS:
        assert "higher quality" in page.get_by_role("heading").inner_text()
        assert page.locator("#prompt").is_hidden()
        assert not any(prompt in page.locator("main:visible").inner_text() for prompt in PROMPTS)
        vote(page, sources(page)[:1], PRESS["digits"])
        assert "fits the text" in page.get_by_role("heading").inner_text()
        shown.append(page.locator("#prompt").inner_text())
        vote(page, sources(page)[:1], PRESS["digits"])
    assert sorted(shown) == sorted(PROMPTS)


def test_a_page_that_is_loaded_again_goes_on_with_the_same_order(open_page):
    page = open_page()
    start(page, "Anna B")
    for _ in range(3):
        vote(page, sources(page)[:1], PRESS["digits"])
    before = page.locator("#where").inner_text(), page.locator("#rest").inner_text(), sources(page)
    page.reload()
    assert page.get_by_label("Your name").input_value() == "Anna B"
    start(page, " anna  b ")
    assert (page.locator("#where").inner_text(), page.locator("#rest").inner_text(), sources(page)) == before
    assert before[0] == "Pair 2 of 3, question 2 of 2"


def test_back_shows_the_answer_and_lets_it_be_changed(open_page, tmp_path):
    page = open_page()
    start(page)
    first, second = sources(page)
    page.keyboard.press("1")
    page.keyboard.press("b")
    assert page.get_by_role("button", name="First").get_attribute("aria-pressed") == "true"
    page.keyboard.press("2")
    for _ in range(5):
        vote(page, sources(page)[:1], PRESS["digits"])
    content = json.loads(saved(page, tmp_path).read_text())
    assert len(content["votes"]) == 6
    choices = {vote["choice"] for vote in content["votes"] if vote["question"] == "quality"}
    assert second in choices
    assert first not in choices
    page.get_by_text("If saving does not work").click()
    assert json.loads(page.get_by_label("your answers as text").input_value()) == content


def test_raters_see_orders_and_sides_of_their_own(open_page):
    orders = "(n) => [...Array(n).keys()].map((i) => JSON.stringify(planFor(`r${i}`)))"
    seen = open_page().evaluate(orders, 2000)
    assert len(set(seen)) == 48  # all orders of three pairs, with all sides
    first = [json.loads(plan)[0] for plan in seen]
    assert all(580 <= sum(pair["number"] == number for pair in first) <= 750 for number in (1, 2, 3))


def test_play_again_starts_both_videos(open_page):
    page = open_page()
    start(page)
    sources(page)
    page.keyboard.press("p")
    assert page.evaluate("sides.every((side) => side.video.currentTime < 0.3)")


def test_with_less_motion_nothing_plays_by_itself_and_nothing_can_be_chosen_unseen(open_page):
    page = open_page(reduced_motion="reduce")
    start(page)
    page.wait_for_timeout(1000)
    assert page.evaluate("sides.every((side) => side.video.paused && !side.seen)")
    page.keyboard.press("1")
    assert page.locator("#where").inner_text() == "Pair 1 of 3, question 1 of 2"
    assert page.locator("#status").inner_text() == "Play both videos first."
    page.get_by_role("button", name="Play again").click()
    sources(page)
    page.keyboard.press("1")
    assert page.locator("#where").inner_text() == "Pair 1 of 3, question 2 of 2"


def test_a_video_that_is_broken_is_told_and_its_pair_skipped(open_page, place, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(place / "page", folder)
    broken = load_study(place / "page.key.json").pairs[0].a
    (folder / "videos" / f"{broken}.mp4").write_bytes(b"gone")
    page = open_page(folder)
    start(page)
    for _ in range(5):
        skip = page.get_by_role("button", name="Skip this pair")
        enabled = page.locator("#choose-1[aria-disabled=false]")
        enabled.or_(skip).first.wait_for()
        if skip.is_visible():
            assert page.locator(".broken:visible").inner_text() == "This browser cannot show this video."
            skip.click()
        else:
            page.keyboard.press("1")
    assert page.locator("#summary").inner_text() == "You have answered 4 of 6 questions."
    assert {vote["pair"] for vote in json.loads(saved(page, tmp_path).read_text())["votes"]} == {2, 3}


@pytest.mark.parametrize("size", [(1280, 800), (375, 667), (667, 375), (320, 568)])
def test_all_is_on_the_screen_and_has_a_name(size, open_page):
    page = open_page(viewport=dict(zip(("width", "height"), size, strict=True)))
    for step in range(3):
        if step:
            assert re.search(r'button "(First|Second) video', page.locator("main:visible").aria_snapshot())
            assert page.locator("#videos video[aria-label]").count() == 2
            for name in ("video-1", "video-2", "choose-1", "choose-2"):
                box = page.locator(f"#{name}").bounding_box()
                assert box["y"] >= 0
                assert box["y"] + box["height"] <= size[1]
            boxes = [page.locator(f"#video-{n}").bounding_box() for n in (1, 2)]
            for side in ("width", "height"):
                assert boxes[0][side] == pytest.approx(boxes[1][side], abs=0.5)
            vote(page, sources(page)[:1], PRESS["buttons"])
        else:
            assert page.evaluate("document.activeElement.tagName") == "H1"
            start(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate(UNNAMED) == []
