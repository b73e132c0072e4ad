"""The pages in a headless browser, on the services.

Skipped where there is no Chromium with its driver (Debian: ``chromium`` and ``chromium-driver``).
"""

from __future__ import annotations

import csv
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import uvicorn

from ranksrgan.contracts.images import decode_image, to_tensor
from ranksrgan.metrics import niqe, read_votes
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.comparisons import Limits
from ranksrgan.pipeline.web.study import Study
from ranksrgan.pipeline.web.vote_book import VoteBook
from tests.pipeline.web.conftest import PATIENCE, TrialServices, photograph

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="Chromium and its driver are not installed"
)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1200,1000",
)


class Browser:
    """A page as a person uses it."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)

    def __getitem__(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self[selector].text

    def until(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, PATIENCE).until(lambda driver: condition())

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        """The id, or else the name, of the element with the focus."""
        element = self.driver.switch_to.active_element
        return str(element.get_attribute("id") or element.tag_name)

    def style(self, selector: str, name: str) -> str:
        """A computed style."""
        script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        return str(self.driver.execute_script(script, selector, name))  # type: ignore[no-untyped-call]

    def complaints(self) -> list[str]:
        """What the console holds since it was last asked: violations of the policy, for one."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def asked(self) -> list[str]:
        """The addresses that the page has loaded."""
        script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        return list(self.driver.execute_script(script))  # type: ignore[no-untyped-call]


@pytest.fixture
def address(services: TrialServices, study: Study, book: VoteBook) -> Iterator[str]:
    """Where the application is served, with every service and the study ``faces``."""
    app = make_app(
        services.addresses, {"faces": study}, book, limits=Limits(upload_bytes=2**20, pixels=2**14)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        services.slow.release.set()
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser(address: str, tmp_path: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield Browser(driver, address)
    finally:
        driver.quit()


def choose(browser: Browser, path: Path, *models: str) -> None:
    """Tick these models and choose an image file."""
    browser.until(lambda: browser.all("#models input"))
    for box in browser.all("#models input"):
        if box.is_selected() != (box.get_attribute("value") in models) and box.is_enabled():
            box.click()
    browser["#file"].send_keys(str(path))


def seen(browser: Browser, selector: str) -> int:
    """How many images below the selector have been loaded."""
    return sum(
        int(image.get_property("naturalWidth")) > 0 for image in browser.all(f"{selector} img")
    )


def test_an_image_is_compared(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(photograph(200, 208))
    browser.open("/")
    browser["[value=original]"].click()
    choose(browser, path, "darker")
    browser.until(lambda: browser.text("#progress-text") == "All done.")
    browser.until(lambda: seen(browser, "#tiles") == 4)
    assert [tile.text for tile in browser.all("#tiles strong")] == [
        "Low resolution", "Bicubic", "darker", "Original",
    ]  # fmt: skip

    # Scores are those of the pictures that may be downloaded.
    links = browser.all("#tiles a.button")
    heads = [head.text.split()[0] for head in browser.all("#scores thead th")]
    assert heads == ["Result", "niqe", "psnr", "ssim", "small"]
    for row, link in zip(browser.all("#scores tbody tr"), links[1:], strict=True):
        with urlopen(str(link.get_property("href")), timeout=PATIENCE) as answer:
            pixels = to_tensor(decode_image(answer.read()))
        assert (
            row.find_elements(By.TAG_NAME, "td")[0].text.split()[0] == f"{float(niqe(pixels)):.3f}"
        )

    # The slider moves what covers the left result, by keys and by hand.
    assert browser.style("#stage-right", "clipPath") == "inset(0px 0px 0px 50%)"
    assert browser.style("#stage-left", "clipPath") == "inset(0px 50% 0px 0px)"
    browser["#slider"].send_keys(Keys.END)
    assert browser.style("#stage-right", "clipPath") == "inset(0px 0px 0px 100%)"
    browser["#slider"].send_keys(Keys.HOME)
    assert browser.style("#stage-right", "clipPath") == "inset(0px 0px 0px 0%)"
    width = browser["#stage"].size["width"]
    drag = ActionChains(browser.driver).click_and_hold(browser["#divider"])
    drag.move_by_offset(width // 4, 0).release().perform()
    covered = browser.style("#stage-right", "clipPath").split()[-1]
    assert float(covered.rstrip("%)")) == pytest.approx(25, abs=3)

    # All views zoom together.
    before = [image.value_of_css_property("transform") for image in browser.all(".view img")]
    browser["#stage"].send_keys("1")
    assert browser.text("#zoom output") == "100 %"
    browser["#stage"].send_keys("+", "+", Keys.ARROW_LEFT)
    assert browser.text("#zoom output") == "156 %"
    after = [image.value_of_css_property("transform") for image in browser.all(".view img")]
    assert all(old != new for old, new in zip(before, after, strict=True))

    # Other results go behind the slider.
    Select(browser["#left"]).select_by_visible_text("Original")
    browser.until(lambda: browser.text("#tag-left") == "Original")
    assert str(browser["#slider"].get_attribute("aria-valuetext")).endswith("% Original")
    browser["#swap"].click()
    browser.until(lambda: browser.text("#tag-right") == "Original")

    assert browser.complaints() == []
    assert all(url.startswith(f"{browser.address}/") for url in browser.asked())


def test_trouble_is_told_and_passes(
    browser: Browser, services: TrialServices, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(photograph(40, 48))
    large.write_bytes(photograph(130, 130))
    services.stop("metrics")
    browser.open("/")
    browser.until(lambda: "metrics is down" in browser.text("#services"))
    choose(browser, large, "slow")
    browser.until(
        lambda: "large.png is 130 \u00d7 130 pixels; at most 16,384" in browser.text("#problem")
    )
    assert not browser.all("#tiles figure")

    choose(browser, small, "slow")
    browser.until(lambda: browser.text("#progress-text") == "Making slow …")
    assert not browser["#problem"].is_displayed()
    browser["#cancel"].click()
    assert services.slow.cancelled.acquire(timeout=PATIENCE)
    browser.until(lambda: browser.text("#progress-text") == "Cancelled.")

    services.start("metrics")
    browser.until(lambda: "metrics is up" in browser.text("#services"))
    browser["#retry"].click()
    browser.until(lambda: browser.text("#progress-text") == "Making slow …")
    browser["#file"].send_keys(str(large))  # is refused, and the one at work goes on
    browser.until(lambda: "at most 16,384" in browser.text("#problem"))
    services.slow.release.set()
    browser.until(lambda: browser.text("#progress-text") == "All done.")
    browser.until(lambda: seen(browser, "#tiles") == 3)
    assert browser.complaints() == []


def may_vote(browser: Browser, number: int) -> bool:
    """Whether the images of the pair of that number are on the screen."""
    ready = browser["[data-choice]"].get_attribute("aria-disabled") == "false"
    return ready and browser.text("#count") == f"Pair {number} of 6"


def test_a_rater_votes_and_comes_back(
    browser: Browser, study: Study, book: VoteBook, tmp_path: Path
) -> None:
    def on_pair(number: int) -> bool:
        return may_vote(browser, number)

    browser.open("/study")
    browser.until(lambda: browser.all("#studies a"))
    browser["#studies a"].click()
    browser.until(lambda: browser["#rater"].is_displayed())
    browser["#rater"].send_keys("Ada", Keys.ENTER)
    browser.until(lambda: on_pair(1))
    assert seen(browser, "#pair") == 2
    for number, key in enumerate((Keys.ARROW_LEFT, Keys.ARROW_RIGHT, "n"), start=2):
        browser.press(key)
        browser.until(lambda: on_pair(number))  # noqa: B023
    browser.press(Keys.BACKSPACE)
    browser.until(lambda: on_pair(3))
    browser.press("n")
    browser.until(lambda: on_pair(4))
    assert [ballot.choice for ballot in book.ballots("faces")] == ["left", "right", "tie"]

    browser.driver.refresh()
    browser.until(lambda: on_pair(4))
    assert browser.text("#who") == "Ada"
    browser["[data-choice=right]"].click()
    browser.until(lambda: on_pair(5))
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: on_pair(6))
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: browser["#thanks"].is_displayed())
    assert "Ada, have voted on all 6 pairs" in browser.text("#summary")
    assert [ballot.showing for ballot in book.ballots("faces")] == study.ahead("Ada", ())

    browser["#results"].click()
    browser.until(lambda: len(browser.all("#standings tr")) == 3)
    assert browser.text("#summary") == "6 votes of 1 person; each can give 6."
    with urlopen(str(browser["#csv"].get_property("href")), timeout=PATIENCE) as answer:
        (tmp_path / "votes.csv").write_bytes(answer.read())
    outcomes = [vote.outcome for vote in read_votes(tmp_path / "votes.csv")]
    assert outcomes == [1, 0, 0.5, 0, 1, 1]
    with (tmp_path / "votes.csv").open(newline="") as file:
        assert {row["rater"] for row in csv.DictReader(file)} == {"Ada"}
    assert browser.complaints() == []


def join(browser: Browser, name: str) -> None:
    browser.open("/study/faces")
    browser.until(lambda: browser["#rater"].is_displayed())
    browser["#rater"].send_keys(name, Keys.ENTER)


# Images come only when `images.come` is called, the latest two first; none while `images.lost`.
HOLD_IMAGES = """
const decode = HTMLImageElement.prototype.decode;
window.images = { waiting: [], lost: false, held: true };
images.come = async () => {
  images.held = false;
  for (const go of images.waiting.splice(-2)) go();
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const go of images.waiting.splice(0)) go();
  await new Promise((resolve) => setTimeout(resolve, 100));
};
HTMLImageElement.prototype.decode = async function () {
  if (images.held) await new Promise((go) => images.waiting.push(go));
  if (images.lost) throw new Error("lost");
  return decode.call(this);
};
"""


def test_votes_are_on_the_pair_that_is_shown(
    browser: Browser, study: Study, book: VoteBook
) -> None:
    def pairs() -> list[object]:
        return [ballot.showing for ballot in book.ballots("faces", "Ada")]

    join(browser, "Ada")
    ahead = study.ahead("Ada", ())
    for number in (1, 2):
        browser.until(lambda: may_vote(browser, number))  # noqa: B023
        browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: may_vote(browser, 3))

    # The pair is left while its images are on their way, and they come in the end.
    browser.driver.execute_script(HOLD_IMAGES)  # type: ignore[no-untyped-call]
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: browser.text("#count") == "Pair 4 of 6")
    browser.press(Keys.ARROW_RIGHT)  # on nothing
    browser.press(Keys.BACKSPACE)
    browser.until(lambda: browser.text("#count") == "Pair 3 of 6")
    browser.driver.execute_script("return images.come()")  # type: ignore[no-untyped-call]
    browser.until(lambda: may_vote(browser, 3))
    assert pairs() == ahead[:2]
    token = study.token(ahead[2].pair)
    for image in browser.all("#pair img"):
        assert token in str(image.get_property("src"))
    browser.press(Keys.ARROW_RIGHT)
    browser.until(lambda: may_vote(browser, 4))
    assert pairs() == ahead[:3]

    # Two at once are one, and nothing before the first pair is taken back.
    browser.press(Keys.BACKSPACE, Keys.BACKSPACE)
    browser.until(lambda: browser.text("#count") in ("Pair 2 of 6", "Pair 3 of 6"))
    while pairs():
        browser.press(Keys.BACKSPACE)
    browser.press(Keys.BACKSPACE)
    browser.until(lambda: may_vote(browser, 1))
    assert not browser["#problem"].is_displayed()

    # Nobody votes on what is not to be seen; the images alone are loaded again.
    browser.driver.execute_script("images.lost = true")  # type: ignore[no-untyped-call]
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: browser["#reload"].is_displayed())
    assert "could not be loaded" in browser.text("#problem")
    browser.press(Keys.ARROW_RIGHT)
    browser.driver.execute_script("images.lost = false")  # type: ignore[no-untyped-call]
    browser["#reload"].send_keys(Keys.ENTER)
    browser.until(lambda: may_vote(browser, 2))
    assert browser.focused() == "question"
    assert not browser["#problem"].is_displayed()
    assert pairs() == ahead[:1]

    # What another window answered is said, and the next pair comes.
    book.record("faces", "Ada", ahead[1], "left", 5)
    browser.press(Keys.ARROW_RIGHT)
    browser.until(lambda: may_vote(browser, 3))
    assert "voted on this pair already" in browser.text("#problem")
    assert [ballot.choice for ballot in book.ballots("faces")] == ["left", "left"]


def test_keys_that_others_use_vote_on_nothing(browser: Browser, book: VoteBook) -> None:
    def choices() -> list[str]:
        return [ballot.choice for ballot in book.ballots("faces", "Ada")]

    join(browser, "Ada")
    browser.until(lambda: may_vote(browser, 1))
    assert "N no difference" in str(browser["#intro"].get_property("textContent"))
    assert browser.text("[data-choice=tie]").split("\n") == ["N", "No difference"]
    browser.press("n")
    browser.until(lambda: may_vote(browser, 2))

    # Those at the buttons of the zoom, which one goes to with Tab.
    browser.driver.execute_script("document.querySelector('[data-zoom=out]').focus()")  # type: ignore[no-untyped-call]
    browser.press(Keys.TAB, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, "n", Keys.BACKSPACE, Keys.DELETE)
    zoomed = browser.text("#zoom output")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.text("#zoom output") != zoomed)
    # The arrow down, with which one scrolls.
    browser.driver.set_window_size(600, 400)
    browser["#question"].send_keys(Keys.ARROW_DOWN)
    scrolled = "return document.scrollingElement.scrollTop"
    browser.until(lambda: browser.driver.execute_script(scrolled) > 0)  # type: ignore[no-untyped-call]
    shifted = ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys("n").key_up(Keys.SHIFT)
    shifted.perform()
    assert browser.text("#count") == "Pair 2 of 6"
    assert choices() == ["tie"]

    # Who zooms with the mouse goes on with the keys.
    browser.driver.set_window_size(1200, 1000)
    browser["[data-zoom=fit]"].click()
    assert browser.focused() == "question"
    browser.press(Keys.ARROW_RIGHT)
    browser.until(lambda: may_vote(browser, 3))
    assert choices() == ["tie", "right"]


# What changes of the pairs and their number, as batches of what one task does.
CHANGES = """
window.changes = [];
const [main, count] = ["main", "count"].map((id) => document.getElementById(id));
const seen = (record) => record.target === main ? "shown" : count.textContent;
const observer = new MutationObserver((records) => changes.push(records.map(seen)));
observer.observe(main, { attributes: true, attributeFilter: ["hidden"] });
observer.observe(count, { childList: true });
"""


def test_the_focus_is_never_lost(browser: Browser, book: VoteBook) -> None:
    browser.open("/study/faces")
    browser.until(lambda: browser["#rater"].is_displayed())
    browser.driver.execute_script(CHANGES)  # type: ignore[no-untyped-call]
    browser["#rater"].send_keys("Ada", Keys.TAB, Keys.ENTER)  # on Begin
    browser.until(lambda: may_vote(browser, 1))
    assert browser.focused() == "question"
    # Nobody hears of what was written where it could not be seen yet.
    changes = browser.driver.execute_script("return changes")  # type: ignore[no-untyped-call]
    assert changes == [["shown"], ["Pair 1 of 6"]]

    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: may_vote(browser, 2))
    assert browser["#undo"].get_attribute("aria-disabled") == "false"
    browser["#undo"].send_keys(Keys.ENTER)
    browser.until(lambda: may_vote(browser, 1))
    assert book.ballots("faces", "Ada") == []
    assert browser.focused() == "undo"
    assert browser["#undo"].get_attribute("aria-disabled") == "true"
    browser.press(Keys.ENTER)  # takes back nothing
    assert may_vote(browser, 1)
    assert not browser["#problem"].is_displayed()
    assert browser.complaints() == []

    browser["#leave"].send_keys(Keys.ENTER)
    browser.until(lambda: browser["#rater"].is_displayed())
    assert browser.focused() == "rater"


def test_what_fails_at_the_end_is_said(browser: Browser, study: Study, book: VoteBook) -> None:
    for showing in study.ahead("Ada", ()):
        book.record("faces", "Ada", showing, "left", 5)
    join(browser, "Ada")
    browser.until(lambda: browser["#thanks"].is_displayed())
    browser.driver.execute_script("window.fetch = () => Promise.reject(new Error())")  # type: ignore[no-untyped-call]
    browser["#undo-last"].click()
    browser.until(lambda: "does not answer" in browser.text("#end-problem"))
    browser.driver.refresh()
    browser.until(lambda: browser["#thanks"].is_displayed())
    browser["#undo-last"].send_keys(Keys.ENTER)
    browser.until(lambda: may_vote(browser, 6))
    assert browser.focused() == "question"


# A camera with a large and a small view of an image of that size; what they say goes to `done`.
VIEWS = """
const [width, height, done] = arguments;
const canvas = Object.assign(document.createElement("canvas"), { width, height });
import("/pages/view.js").then(async ({ Camera, View }) => {
  const url = URL.createObjectURL(await new Promise((take) => canvas.toBlob(take)));
  const camera = new Camera();
  const make = async (style) => {
    const [frame, layer] = [document.createElement("div"), document.createElement("div")];
    frame.style.cssText = `position: fixed; ${style}`;
    frame.append(layer);
    document.body.append(frame);
    const view = new View(frame, camera);
    await view.show(layer, url, "", width, height);
    return { view, layer };
  };
  const large = await make("left: 0.5px; top: 0.25px; width: 501px; height: 400px");
  const small = await make("left: 0; top: 0; width: 100px; height: 80px");
  new View(document.createElement("div"), camera); // shows nothing yet
  const told = { fits: large.view.scale };
  small.view.zoom(1.25);
  told.zoomed = large.view.scale / told.fits;
  camera.fit();
  large.view.actualSize();
  const box = large.layer.firstChild.getBoundingClientRect();
  told.corner = [box.left, box.top];
  for (let i = 0; i < 9; i++) large.view.move(-60, 0);
  const left = () => large.layer.firstChild.getBoundingClientRect().left;
  const edge = left();
  large.view.move(60, 0);
  told.back = edge - left();
  small.view.dispose();
  told.views = camera.views.size;
  done(told);
}, (error) => done(String(error)));
"""


@pytest.mark.parametrize(("width", "height"), [(600, 480), (4, 4)])
def test_views_zoom_and_move(browser: Browser, width: int, height: int) -> None:
    browser.open("/study")
    told = browser.driver.execute_async_script(VIEWS, width, height)  # type: ignore[no-untyped-call]
    assert isinstance(told, dict), told
    # Nothing shrinks when something is enlarged.
    assert told["zoomed"] == pytest.approx(1.25 if width == 600 else 1)
    assert told["corner"] == [round(value) for value in told["corner"]]
    assert told["back"] == pytest.approx(60 if width == 600 else 0, abs=1)
    assert told["views"] == 2
