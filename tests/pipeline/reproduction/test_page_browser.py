"""The page in a headless browser, as a file; skipped where there is none (see `web`'s tests)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ranksrgan.pipeline.reproduction.page import write_page
from ranksrgan.pipeline.reproduction.page_tables import NOTHING
from tests.pipeline.reproduction.made_up import make_findings

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.pipeline.web.test_browser import CHROMIUM, DRIVER, FLAGS, Browser

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="Chromium and its driver are not installed"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    write_page(make_findings(folder), folder / "report.html")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield Browser(driver, (folder / "report.html").as_uri())
    finally:
        driver.quit()


@pytest.fixture
def page(browser: Browser) -> Iterator[Browser]:
    """The page as it is when it has been opened; at the end it must have had nothing to say."""
    browser.open("")
    browser.until(lambda: len(browser.all(".tile .layer img")) == 6)
    yield browser
    assert browser.complaints() == []
    assert [found for found in browser.asked() if not found.startswith("data:")] == []


def column(page: Browser, number: int) -> list[str]:
    return [row.text for row in page.all(f"#rows tbody tr:not([hidden]) td:nth-child({number})")]


def test_rows_sort_by_click_and_by_keyboard(page: Browser) -> None:
    assert column(page, 2) == ["img10", "img9", "img9"]
    psnr = page["#rows th:nth-child(5) button"]
    psnr.click()
    assert column(page, 5) == ["9.50", "27.00", "100.25"]  # as numbers, not as text
    assert page["#rows th:nth-child(5)"].get_attribute("aria-sort") == "ascending"
    psnr.send_keys(Keys.ENTER)
    assert column(page, 5) == ["100.25", "27.00", "9.50"]
    niqe = page["#rows th:nth-child(6) button"]
    niqe.send_keys(Keys.SPACE)
    assert column(page, 6) == ["3.123", "4.000", NOTHING]
    assert page["#rows th:nth-child(5)"].get_attribute("aria-sort") is None
    niqe.click()
    assert column(page, 6) == ["4.000", "3.123", NOTHING]  # what has no value stays last
    page["#rows th:nth-child(2) button"].click()
    assert column(page, 2) == ["img9", "img9", "img10"]  # numbers in names count as such
    page["#filter"].send_keys("9 rank")
    assert column(page, 3) == ["RankSRGAN"]
    assert page.text("#shown") == "1 of 3 rows"


def test_a_chart_reads_out_the_step_that_is_pointed_at(page: Browser) -> None:
    chart, reads = page[".lines"], lambda: [cell.text for cell in page.all(".legend .read")]
    assert (page.text(".legend .at"), reads()) == ("last step", ["3.250 ± 0.354", "4.000"])
    chart.send_keys(Keys.HOME)
    assert (page.text(".legend .at"), reads()) == ("step 0", ["4.000 ± 0.000", "4.000"])
    chart.send_keys(Keys.ARROW_RIGHT)
    assert page.text(".legend .at") == "step 100"
    chart.send_keys(Keys.ESCAPE)
    assert page.text(".legend .at") == "last step"
    width = chart.size["width"]
    ActionChains(page.driver).move_to_element_with_offset(chart, -width // 4, 0).perform()
    assert page.text(".legend .at") == "step 0"
    assert page[".lines .cursor"].get_attribute("visibility") == "visible"


def test_pictures_zoom_together_and_the_slider_divides_two(page: Browser) -> None:
    images = page.all(".tile .layer img")

    def scale(shown: WebElement) -> float:
        """Of an image, which begins on a whole pixel of the screen wherever its frame does."""
        factor, *corner = page.driver.execute_script(
            "const image = arguments[0], frame = image.closest('.view');"
            "const at = new DOMMatrix(getComputedStyle(image).transform);"
            "const box = frame.getBoundingClientRect();"
            "return [at.a, box.left + frame.clientLeft + at.e, box.top + frame.clientTop + at.f];",
            shown,
        )
        assert corner == pytest.approx([round(place) for place in corner], abs=0.01)
        return float(factor)

    stage = page["#layer-left img"]
    fits = scale(stage)
    assert fits > 1
    assert [scale(images[0]), scale(images[5])] == [1, 1]  # one to one
    page[".tile .frame"].send_keys("+")  # all have one scale then, beyond that of the largest
    assert [scale(images[0]), scale(images[5]), scale(stage)] == pytest.approx(
        [1.25 * fits] * 3, 1e-4
    )
    page[".tile .frame"].send_keys("0")
    assert [scale(images[0]), scale(images[5]), scale(stage)] == [1, 1, fits]
    page["#zoom [data-zoom=in]"].click()
    assert page.text("#zoom output").endswith("%")
    page["#zoom [data-zoom=fit]"].click()

    assert Select(page["#left"]).first_selected_option.text == "RankSRGAN"
    assert Select(page["#right"]).first_selected_option.text == "ground truth"
    page["#slider"].send_keys(Keys.ARROW_LEFT * 10)
    assert page.style("#layer-right", "clipPath") == "inset(0px 0px 0px 40%)"
    Select(page["#left"]).select_by_visible_text("SRGAN")
    Select(page["#which"]).select_by_visible_text("Set2: cup")
    assert Select(page["#left"]).first_selected_option.text == "SRGAN"
    page.until(lambda: page["#layer-left img"].get_attribute("alt") == "SRGAN")


def test_print_shows_pictures_whole_and_no_controls(page: Browser) -> None:
    page["#zoom [data-zoom=actual]"].click()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.style(".tile .layer", "display") == "none"
        assert page.style(".tile .frame > img", "visibility") == "visible"
        assert page.style("#compare", "display") == "none"
        assert page.style("nav", "display") == "none"
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_scripts_all_is_there_but_the_controls(browser: Browser) -> None:
    disabled = "Emulation.setScriptExecutionDisabled"
    browser.driver.execute_cdp_cmd(disabled, {"value": True})
    try:
        browser.open("")
        assert browser.style("#compare", "display") == "none"
        assert [image for image in browser.all(".tile img") if not image.is_displayed()] == []
        assert len(browser.all(".tile img")) == 6
        assert browser.text(".legend .read") == "3.250 ± 0.354"
        assert browser["a[download]"].is_displayed()
        assert column(browser, 2) == ["img10", "img9", "img9"]
    finally:
        browser.driver.execute_cdp_cmd(disabled, {"value": False})


def test_no_part_is_wider_than_a_phone(page: Browser) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.open("")
        script = "return document.documentElement.scrollWidth"
        assert page.driver.execute_script(script) == 360
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_asked_of_the_folder(browser: Browser, tmp_path: Path) -> None:
    """The page works where it is alone."""
    alone = tmp_path / "alone.html"
    alone.write_bytes(Path(browser.address.removeprefix("file://")).read_bytes())
    browser.driver.get(alone.as_uri())
    browser.until(lambda: len(browser.all(".tile .layer img")) == 6)
    assert browser.complaints() == []
