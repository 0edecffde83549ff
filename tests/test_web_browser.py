"""The page in a real browser: what is shown, by keyboard too, hostile names, policy; Debian's Chromium, headless."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import web_feed as feed
from called import NOON, one_call
from patience import PATIENCE_S
from web_page import Page, page

from streamcab.calls import Tally
from streamcab.store.database import url_of
from streamcab.store.writer import Keep, Writer
from streamcab.web.serve import Access

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

WORDS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900",
)  # fmt: skip
HOSTILE = "<img src=x onerror=window.bad=1>"
SOURCE = "<script>window.bad=1</script>\u202e" + "x" * 400


@pytest.fixture(scope="module")
def driver() -> "Iterator[WebDriver]":
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no chromium and chromedriver here (tools/system.sh test)")
    from selenium import webdriver

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = webdriver.ChromeOptions()
        for word in (*WORDS, f"--user-data-dir={folder}"):
            options.add_argument(word)
        options.binary_location = chromium
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        one = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
        try:
            yield one
        finally:
            one.quit()


@pytest.fixture
def one(driver: "WebDriver") -> Iterator[Page]:
    messages = [message for n in range(5) for message in call(n)]
    driver.get_log("browser")  # what the test before met is not this one's
    with page(messages=messages) as served:
        yield served
        driver.get("about:blank")  # before its server goes, which it would call an error


def call(n: int, at_s: float = 20.0, **fields: Any) -> list[Any]:
    """The messages of one call: the even ones are from the uk, the odd ones from the us."""
    name = f"call-{n}"
    probs = (0.8, 0.15, 0.05) if n % 2 == 0 else (0.2, 0.7, 0.1)
    began = 1000.0 + n
    return [
        feed.model(name, time=began),
        feed.status(
            name,
            time=began + 1,
            source=f"RTP from 192.0.2.{n}",
            captured_s=1.0,
            call={"call": f"CA-{n}", "<b>": HOSTILE},
        ),
        feed.answer(name, at_s - 1, (0.5, 0.4, 0.1), time=began + at_s - 1, **fields),
        feed.answer(name, at_s, probs, time=began + at_s, **fields),
    ]


@pytest.fixture
def see(driver: "WebDriver") -> Callable[[str], Any]:
    """Waits until a script of the browser yields something, and returns that."""
    from selenium.webdriver.support.ui import WebDriverWait

    def wait(script: str) -> Any:
        return WebDriverWait(driver, PATIENCE_S, 0.05).until(lambda d: d.execute_script(f"return {script}"))

    return wait


def rows(driver: "WebDriver") -> list[list[str]]:
    found = driver.execute_script(
        "return [...document.querySelectorAll('#rows .row')].filter((r) => !r.hidden)"
        ".sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((r) => [...r.children].map((c) => c.textContent))"
    )
    return list(found)


def clean(driver: "WebDriver") -> bool:
    """Whether the browser met no error and no breach of the policy."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def press(driver: "WebDriver", *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def test_every_live_call_has_a_row_that_follows_it(
    driver: "WebDriver", one: Page, see: Callable[[str], Any]
) -> None:
    driver.get(one.at)
    see("document.querySelectorAll('#rows .row').length === 5")
    first = rows(driver)[0]
    assert [first[i] for i in (0, 1, 3, 4, 5)] == ["call-4", "uk", "80 %", "10 s", "speech"]
    see("document.getElementById('count').textContent === '5'")
    legend = driver.execute_script("return document.getElementById('legend').textContent")
    assert legend == "uk3us2in0no answer0"
    one.tell(feed.answer("call-4", 26.0, (0.1, 0.1, 0.8), flaws=["noisy"], sure=False))
    see("document.getElementById('call-5').textContent.includes('in?80 %13 s')")
    assert rows(driver)[0][6] == "noisy"
    one.tell(feed.answer("call-4", 27.0, state="ended"))
    see("document.getElementById('count').textContent === '4'")
    assert clean(driver)


def test_hostile_names_are_text(driver: "WebDriver", one: Page, see: Callable[[str], Any]) -> None:
    labels = ["<b>uk</b>", "us", "in"]
    hostile = feed.answer(HOSTILE, labels=labels, probs=(), top=labels[0], confidence=0.9, flaws=["<i>"])
    one.tell(feed.model(HOSTILE, labels), feed.status(HOSTILE, source=SOURCE, detail=SOURCE), hostile)
    driver.get(one.at)
    see("document.querySelectorAll('#rows .row').length === 6")
    assert HOSTILE in [row[0] for row in rows(driver)]
    assert "<b>uk</b>" in [row[1] for row in rows(driver)]
    see("document.getElementById('spoken').textContent.includes('<b>uk</b>')")
    driver.get(f"{one.at}#/call/6")
    driver.refresh()
    see("document.querySelector('#call h1')")
    assert driver.execute_script("return document.querySelector('#call h1').textContent") == HOSTILE
    assert driver.execute_script(
        "return window.bad === undefined && !document.querySelector('main img, main script')"
    )
    width = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "a long text widens the page"
    assert clean(driver)


def test_the_list_is_filtered_and_the_address_keeps_it(
    driver: "WebDriver", one: Page, see: Callable[[str], Any]
) -> None:
    driver.get(one.at)
    see("document.querySelectorAll('#rows .row').length === 5")
    driver.find_element("css selector", "#legend button:nth-child(2)").click()
    assert [row[0] for row in rows_soon(driver, see, 2)] == ["call-3", "call-1"]
    assert "accent=us" in driver.current_url
    driver.find_element("id", "q").send_keys("192.0.2.1")
    assert [row[0] for row in rows_soon(driver, see, 1)] == ["call-1"]
    driver.find_element("id", "q").clear()
    driver.find_element("id", "q").send_keys("ca-3")
    assert [row[0] for row in rows_soon(driver, see, 1)] == ["call-3"]
    driver.get("about:blank")
    driver.get(f"{one.at}#/?sort=sure&q=call")
    assert [row[1] for row in rows_soon(driver, see, 5)] == ["us", "us", "uk", "uk", "uk"]
    driver.find_element("id", "q").send_keys("nobody")
    see("!document.getElementById('empty').hidden")
    assert clean(driver)


def rows_soon(driver: "WebDriver", see: Callable[[str], Any], count: int) -> list[list[str]]:
    see(f"[...document.querySelectorAll('#rows .row')].filter((r) => !r.hidden).length === {count}")
    return rows(driver)


def test_a_call_is_opened_and_left_by_keyboard(
    driver: "WebDriver", one: Page, see: Callable[[str], Any]
) -> None:
    from selenium.webdriver.common.keys import Keys

    driver.get(one.at)
    see("document.querySelectorAll('#rows .row').length === 5")
    driver.execute_script("document.getElementById('grid').focus()")
    press(driver, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    see("document.getElementById('grid').getAttribute('aria-activedescendant') === 'call-3'")
    assert (
        driver.execute_script("return document.querySelector('#call-3').getAttribute('aria-selected')")
        == "true"
    )
    press(driver, Keys.ENTER)
    see("document.querySelector('#call h1')?.textContent === 'call-2'")
    assert driver.current_url.endswith("#/call/3")
    words = driver.execute_script("return document.querySelector('#call canvas').getAttribute('aria-label')")
    assert "uk 80 %" in words
    assert driver.execute_script("return document.querySelector('#call .facts').textContent").startswith(
        "SourceRTP from 192.0.2.2"
    )
    driver.find_element("css selector", "#call summary").click()
    see("document.querySelectorAll('#call tbody tr').length === 2")
    told = driver.execute_script(
        "return document.querySelector('#call .told canvas').getAttribute('aria-label')"
    )
    assert "Most for uk: 0:19 (+" in told
    facts = driver.execute_script("return document.querySelector('#call .facts').textContent")
    assert f"Call idCA-2<b>{HOSTILE}" in facts
    press(driver, Keys.ESCAPE)
    see("!document.getElementById('wall').hidden && document.activeElement.id === 'grid'")
    assert (
        driver.execute_script("return document.getElementById('grid').getAttribute('aria-activedescendant')")
        == "call-3"
    )
    press(driver, "/")
    see("document.activeElement.id === 'q'")
    assert clean(driver)


def test_changes_of_voice_are_marked_in_the_course_of_a_call(
    driver: "WebDriver", one: Page, see: Callable[[str], Any]
) -> None:
    voices = {21: 1, 22: 2, 23: 2, 24: 2, 25: 2, 26: 1, 27: 1, 28: 3}
    one.tell(*(feed.answer("call-1", at_s, voice=voice) for at_s, voice in voices.items()))
    driver.get(f"{one.at}#/call/2")
    driver.refresh()
    words = see("document.querySelector('#call .chart p')?.textContent")
    assert words == "Changes of voice: 0:22 to voice 2, 0:26 to voice 1, 0:28 to voice 3."
    said = driver.execute_script("return document.querySelector('#call canvas').getAttribute('aria-label')")
    assert words in said
    lines = driver.execute_script(
        "const c = document.querySelector('#call canvas'), k = document.createElement('i');"
        "k.style.color = 'var(--ink)'; document.body.append(k);"
        "const ink = getComputedStyle(k).color.match(/[0-9]+/g).map(Number); k.remove();"
        "const row = c.getContext('2d').getImageData(0, 4, c.width, 1).data;"
        "const is = (x) => ink.every((v, i) => row[4 * x + i] === v);"
        "return [...Array(c.width).keys()].filter((x) => is(x) && !is(x - 1)).map((x) => (x + 1 - 46) / (c.width - 46))"
    )
    assert [round(at * 29) for at in lines] == [22, 26, 28]
    driver.find_element("css selector", "#call summary").click()
    column = see(
        "[...document.querySelectorAll('#call tbody tr')].map((r) => r.children[5].textContent).slice(-8)"
    )
    assert column == ["1", "2", "2", "2", "2", "1", "1", "3"]
    assert clean(driver)


def test_of_a_thousand_calls_only_those_on_the_screen_are_in_the_document(
    driver: "WebDriver", one: Page, see: Callable[[str], Any]
) -> None:
    one.tell(*(message for n in range(5, 1_000) for message in call(n)))
    driver.get(one.at)
    see("document.getElementById('count').textContent === '1,000'")
    assert driver.execute_script("return document.querySelectorAll('#rows .row').length") < 60
    assert (
        driver.execute_script("return document.getElementById('grid').getAttribute('aria-rowcount')")
        == "1001"
    )
    driver.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    see("[...document.querySelectorAll('#rows .row')].some((r) => r.textContent.startsWith('call-0'))")
    assert clean(driver)


def test_a_page_that_lost_its_server_says_so(driver: "WebDriver", see: Callable[[str], Any]) -> None:
    with page(messages=call(0)) as served:
        driver.get(served.at)
        see("document.querySelectorAll('#rows .row').length === 1")
    see("document.getElementById('link').textContent.startsWith('page cut off')")
    assert len(rows(driver)) == 1


def test_both_themes_and_the_choice_of_one(driver: "WebDriver", one: Page, see: Callable[[str], Any]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    found = set()
    driver.get(one.at)
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        found.add(see(ground))
    assert len(found) == 2
    driver.execute_script(
        "const t = document.getElementById('theme'); t.value = 'light'; t.dispatchEvent(new Event('input'))"
    )
    assert see(ground) == "rgb(251, 251, 250)"
    driver.refresh()
    assert see(ground) == "rgb(251, 251, 250)"


def test_tracks_of_one_call_can_be_told_apart_where_their_names_have_no_room(
    driver: "WebDriver", one: Page, see: Callable[[str], Any]
) -> None:
    names = [f"CA{'0' * 32}-{track}" for track in ("inbound", "outbound")]
    one.tell(*(message for name in names for message in (feed.model(name), feed.answer(name))))
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        driver.get(f"{one.at}#/?q=CA0000")
        driver.refresh()
        assert {row[0] for row in rows_soon(driver, see, 2)} == set(names)
        ends = driver.execute_script(
            "return [...document.querySelectorAll('#rows .row:not([hidden]) .name')].map((n) => [n, n.lastChild]).map("
            "([n, t]) => [n.clientWidth, n.scrollWidth, t.textContent, t.clientWidth >= t.scrollWidth, n.ariaLabel])"
        )
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert sorted(end[4] for end in ends) == names
    for width, needed, tail, whole, name in ends:
        assert needed <= width
        assert whole, "the end of the name is cut off"
        assert name.endswith(tail)
        assert "bound" in tail
    assert clean(driver)


def test_a_phone_shows_the_answers_of_stored_calls(
    driver: "WebDriver", see: Callable[[str], Any], tmp_path: Path
) -> None:
    file, name = tmp_path / "calls.db", f"CA{'0' * 32}-outbound"
    with Writer(url_of(str(file)), "r1", Keep(1e9, 1e9, 0)) as writer:
        one_call(Tally(writer), name, NOON, sure=False)
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        with page(Access(store=str(file))) as served:
            driver.get(f"{served.at}#/history?from=2027-01-10&to=2027-01-16&tz=UTC")
            see("document.querySelectorAll('#history tbody tr').length === 1")
            seen = driver.execute_script(
                "return [...document.querySelectorAll('#history tbody td')].filter((d) => d.checkVisibility()).map("
                "(d) => [d.textContent, d.getBoundingClientRect().right <= innerWidth])"
            )
            words = driver.execute_script(
                "return document.querySelector('#history canvas').getAttribute('aria-label')"
            )
            driver.get("about:blank")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert [name, True] in seen
    assert all(inside for _, inside in seen)
    assert [" uk?", True] in seen
    assert ["75 %", True] in seen
    assert words == "Calls by day. Jan 15: 1"


def test_a_stored_call_is_left_to_its_place_in_the_list(
    driver: "WebDriver", see: Callable[[str], Any], tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    file = tmp_path / "calls.db"
    with Writer(url_of(str(file)), "r1", Keep(1e9, 1e9, 0)) as writer:
        tally = Tally(writer)
        for n in range(3):
            one_call(tally, f"call-{n}", NOON + n)
    with page(Access(store=str(file))) as served:
        driver.get(f"{served.at}#/history?from=2027-01-10&to=2027-01-16&tz=UTC")
        see("document.querySelectorAll('#history tbody tr').length === 3")
        legend = "return document.querySelector('#history .keys').textContent"
        assert driver.execute_script(legend) == "usukno answer", "the colours are those of live calls"
        driver.execute_script("document.querySelectorAll('#history tbody a')[1].focus()")
        press(driver, Keys.ENTER)
        see("document.querySelector('#call h1')?.textContent === 'call-1'")
        press(driver, Keys.ESCAPE)
        see("document.activeElement.closest('tbody') && document.activeElement.textContent === 'call-1'")
        driver.get("about:blank")


def test_a_history_that_cannot_be_asked_shows_nothing_else(
    driver: "WebDriver", see: Callable[[str], Any], tmp_path: Path
) -> None:
    file = tmp_path / "calls.db"
    with Writer(url_of(str(file)), "r1", Keep(1e9, 1e9, 0)) as writer:
        one_call(Tally(writer), "alice", NOON)
    with page(Access(store=str(file))) as served:
        driver.get(f"{served.at}#/history?from=2027-01-10&to=2027-01-16&tz=UTC")
        see("document.querySelectorAll('#history tbody tr').length === 1")
        driver.get(f"{served.at}#/history?from=2027-01-16&to=2027-01-10&tz=UTC")
        see("document.querySelector('#history .count').textContent.includes('is after the last')")
        stale = "#history figure, #history .files, #history tbody tr"
        for found in driver.find_elements("css selector", stale):
            assert not found.is_displayed()
        driver.get("about:blank")
        driver.get_log("browser")  # the browser calls a refusal an error


def test_a_phone_scrolls_in_one_direction(driver: "WebDriver", one: Page, see: Callable[[str], Any]) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for at in ("#/", "#/call/1"):
            driver.get(one.at + at)
            driver.refresh()
            see("document.querySelectorAll('#rows .row').length || document.querySelector('#call h1')")
            assert driver.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
