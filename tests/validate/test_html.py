"""The HTML page: self-contained, escaped, well-formed; then in a browser."""

from __future__ import annotations

import base64
import dataclasses
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import keras_octet as ko
from tests.validate.test_report import full_report

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
HOSTILE = "<script>alert('x')</script>&\"'$x$--]]>"


class Page(HTMLParser):
    """Tags with their attributes, and tags that were not closed."""

    VOID = frozenset(["meta", "link", "input", "br", "path", "use", "rect", "stop"])

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def html() -> str:
    return full_report().to_html()


def test_the_page_needs_nothing_else(html: str) -> None:
    page = Page(html)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        assert not (tag == "script" and "src" in attributes)
        for name in ("href", "src", "xlink:href", "action", "srcset"):
            link = attributes.get(name)
            assert link is None or link.startswith(("#", "data:")), (tag, link)
    assert not re.search(r"url\((?!#)|@import", html)
    policy = next(a for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert (policy["content"] or "").startswith("default-src 'none'")


def test_identifiers_are_unique_and_references_lead_somewhere(html: str) -> None:
    page = Page(html)
    names = Counter(a["id"] for _, a in page.tags if "id" in a)
    assert [name for name, count in names.items() if count > 1] == []
    for tag, attributes in page.tags:
        link = attributes.get("xlink:href") or attributes.get("href") or ""
        if link.startswith("#"):
            assert link[1:] in names, (tag, link)
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in names, name
    for reference in re.findall(r"url\(#([^)]*)\)", html):
        assert reference in names


def test_every_plot_is_there_and_has_a_text_alternative(html: str) -> None:
    plots = [a for tag, a in Page(html).tags if tag == "svg"]
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for a in plots)
    titles = re.findall(r'<title id="([a-z]+)(?:-\d+)?-title">', html)
    assert {"layers", "trials", "scatter", "sizes", "latency", "weights", "activation"} == set(
        titles
    )
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", drawn))
    assert not colours, "every colour comes from the page's style"
    assert "var(--ink)" in drawn


def test_every_layer_and_failure_is_on_the_page(html: str) -> None:
    report = full_report()
    for row in report.layers:
        assert f'<th scope="row">{row.name}</th>' in html
    assert report.failures[0] in html
    assert "Limits: min_sqnr 90 dB." in html
    assert "kept in float by the recipe" in html
    for advice in report.advice:
        assert advice.code.splitlines()[0] in html


def test_names_from_strangers_are_text() -> None:
    report = full_report()
    hostile = dataclasses.replace(
        report,
        model=HOSTILE,
        layers=tuple(dataclasses.replace(row, name=HOSTILE) for row in report.layers),
        outputs=tuple(dataclasses.replace(o, name=HOSTILE) for o in report.outputs),
        notes=(HOSTILE,),
        failures=(HOSTILE,),
    )
    page = hostile.to_html()
    assert "<script>alert" not in page
    assert Page(page).open == []
    assert "&lt;script&gt;alert" in page
    assert str(hostile)


def test_a_report_of_little_is_a_page() -> None:
    page = ko.ValidationReport(
        model="small", num_samples=1, machine=full_report().machine
    ).to_html()
    assert Page(page).open == []


def test_a_loaded_report_gives_the_same_page(tmp_path: Path, html: str) -> None:
    full_report().save(tmp_path / "r.json")
    assert ko.ValidationReport.load(tmp_path / "r.json").to_html() == html


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (shutil.which(CHROMIUM) and shutil.which(DRIVER)):
        pytest.skip(f"no {CHROMIUM} with {DRIVER} on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for argument in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1200,900",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, html: str, tmp_path: Path) -> Any:
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    browser.get(path.as_uri())
    return browser


def column(page: Any, index: int) -> list[str]:
    return page.execute_script(
        "return [...document.querySelectorAll('#layer-table tbody tr')]"
        f".map(row => row.cells[{index}].innerText.trim())"
    )


def headings(page: Any) -> list[str]:
    return [e.text.strip() for e in page.find_elements("css selector", "#layer-table thead button")]


def numbers(cells: list[str]) -> list[float]:
    return [float("inf") if cell == "exact" else float(cell.strip("<>")) for cell in cells if cell]


def test_the_console_stays_silent(page: Any) -> None:
    assert page.get_log("browser") == []
    assert page.title == "classifier: int8 validation"


def test_sorting_by_mouse(page: Any) -> None:
    index = headings(page).index("own, dB")
    button = page.find_elements("css selector", "#layer-table thead button")[index]
    head = page.find_elements("css selector", "#layer-table thead th")[index]
    assert head.get_attribute("aria-sort") is None
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    cells = column(page, index)
    assert numbers(cells) == sorted(numbers(cells))
    assert cells[-1] == "", "what has no value comes last"
    assert len(cells) == len(full_report().layers)
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    cells = column(page, index)
    assert numbers(cells) == sorted(numbers(cells), reverse=True)
    assert cells[-1] == ""
    marked = page.find_elements("css selector", "#layer-table th[aria-sort]")
    assert len(marked) == 1
    assert "own" in page.find_element("id", "layer-status").text


def test_sorting_and_filtering_by_keyboard(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    field = page.find_element("id", "layer-filter")
    field.send_keys("conv2d")
    shown = [row for row in page.find_elements("css selector", "#layer-table tbody tr")
             if row.is_displayed()]  # fmt: skip
    expected = [row for row in full_report().layers if "conv2d" in row.layer_type.lower()]
    assert len(shown) == len(expected)
    assert f"{len(expected)} of" in page.find_element("id", "layer-status").text
    for _ in "conv2d":
        field.send_keys(Keys.BACKSPACE)
    # From the field to the scrolling table, and to the first heading.
    page.switch_to.active_element.send_keys(Keys.TAB)
    page.switch_to.active_element.send_keys(Keys.TAB)
    active = page.switch_to.active_element
    assert active.text.strip() == "layer"
    active.send_keys(Keys.ENTER)
    assert column(page, 0) == sorted(column(page, 0), key=str.lower)
    active.send_keys(Keys.SPACE)
    assert column(page, 0) == sorted(column(page, 0), key=str.lower, reverse=True)
    outline = active.value_of_css_property("outline-style")
    assert outline == "solid", "the focus is visible"


def test_names_stay_beside_their_numbers(page: Any) -> None:
    table = page.find_element("css selector", ".layers")
    first = table.find_element("css selector", "tbody th")
    before = first.rect["x"]
    page.execute_script("arguments[0].scrollLeft = 200; arguments[0].style.width = '500px'", table)
    page.execute_script("arguments[0].scrollLeft = 200", table)
    assert page.execute_script("return arguments[0].scrollLeft", table) > 0
    assert first.rect["x"] == pytest.approx(before, abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(page: Any, scheme: str) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    colours = page.execute_script(
        """
        const value = (element, name) => getComputedStyle(element)[name];
        const card = value(document.querySelector("section"), "backgroundColor");
        return [...document.querySelectorAll("h1, h2, p, td, th, dd, figcaption, code, svg text")]
          .map(e => [e.ownerSVGElement ? value(e, "fill") : value(e, "color"),
                     e.closest("pre") ? value(e.closest("pre"), "backgroundColor") : card]);
        """
    )
    assert len(colours) > 100
    for pair in {tuple(pair) for pair in colours}:
        first, second = (luminance(colour) for colour in pair)
        ratio = (max(first, second) + 0.05) / (min(first, second) + 0.05)
        assert ratio >= 4.5, (pair, ratio)
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(background) < 0.2) is (scheme == "dark")


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(...)`, as WCAG defines it."""
    parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("width", [320, 375, 1200])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_less_motion_is_respected(page: Any) -> None:
    script = "return getComputedStyle(document.querySelector('.tools input')).transitionDuration"
    durations = []
    for value in ("no-preference", "reduce"):
        features = [{"name": "prefers-reduced-motion", "value": value}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        durations.append(page.execute_script(script))
    assert durations[0] != durations[1] == "0s"


def test_it_prints(page: Any) -> None:
    result = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    content = base64.b64decode(result["data"])
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 8
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.find_element("id", "layer-filter").is_displayed()
        card = page.find_element("css selector", "section").value_of_css_property(
            "background-color"
        )
        assert luminance(card) > 0.9
        table = page.find_element("css selector", ".layers")
        assert table.value_of_css_property("overflow") == "visible"
        names = page.find_elements("css selector", ".layers tbody th")
        assert all(name.rect["height"] < 40 for name in names), "names are not cut into letters"
        # Chromium repeats a table's head on every page, but not the buttons in it as such.
        assert (
            table.find_element("css selector", "thead").value_of_css_property("display")
            == "table-header-group"
        )
        buttons = table.find_elements("css selector", "thead button")
        assert {each.value_of_css_property("display") for each in buttons} == {"contents"}
        for selector in (".layers tbody tr", "figure"):
            for each in page.find_elements("css selector", selector):
                assert each.value_of_css_property("break-inside") == "avoid"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
