"""The HTML report in a real browser, opened from the file system as a reader would."""

import dataclasses
import json
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.audio import write_flac
from bench.errors import Reason
from bench.reporting.html import Figure, Tab, Table, write_report
from bench.results import reconstruction_name
from bench.store import CodingKey

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

HOSTILE = "</script><script>window.__pwned=1</script><img src=x onerror='window.__pwned=2'>\"&../"
CODECS = {"passthrough": None, "opus@6kbps": 6.0, "opus@24kbps": 24.0, "mini@25tps": 0.35}
EVIL = f"mini@{HOSTILE}"
HEARD = json.dumps({"edits": 1, "words": 3, "hypothesis": f"some {HOSTILE}"})
RATE, SECONDS = 16000, 4.0
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture(scope="module")
def page_path(make_results, tmp_path_factory):
    """A report with audio, failures, and a clip and a codec of hostile name."""
    folder = tmp_path_factory.mktemp("run")
    results = make_results(
        codecs={**CODECS, EVIL: 0.7},
        clips=3,
        folder=folder,
        reasons={("opus@6kbps", "music-01", "visqol-speech-exp"): Reason.METRIC_ERROR},
        unavailable={EVIL: HOSTILE},
    )
    new = {name: name + HOSTILE for name in ("speech-02",)}
    results = dataclasses.replace(
        results,
        rows=results.rows.assign(
            clip=results.rows["clip"].replace(new),
            detail=np.where(results.rows["metric"] == "wer", HEARD, results.rows["detail"]),
        ),
        clips=results.clips.assign(
            clip=results.clips["clip"].replace(new),
            text=results.clips["text"].where(results.clips["text"].isna(), HOSTILE),
            path=[str(folder / f"{index}.flac") for index in range(len(results.clips))],
        ),
    )
    write_audio(results)
    svg = folder / "curve.svg"
    svg.write_text("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 4 3'/>")
    figures = [Figure(f"Curve {domain}", svg, "stoi", domain) for domain in ("speech", "music")]
    return write_report(
        results,
        tmp_path_factory.mktemp("report"),
        title=f"Report {HOSTILE}",
        figures=figures,
        tabs=[Tab("Extra", HOSTILE, [long_table()], notes=[HOSTILE])],
        colours=dict.fromkeys(results.codecs, "#336699"),
    )


def long_table():
    """More rows than are shown at first, of hostile text and numbers."""
    frame = pd.DataFrame({"name": [f"{k} {HOSTILE}" for k in range(40)], "bits": range(40, 0, -1)})
    return Table(f"Table {HOSTILE}", frame)


def write_audio(results):
    """Write references and reconstructions: steady tones, quieter for later codecs."""
    wave = np.sin(2 * np.pi * 440 * np.arange(int(SECONDS * RATE)) / RATE)[None]
    for clip in results.clips.to_dict("records"):
        soundfile.write(clip["path"], 0.5 * wave.T, RATE)
        for number, (codec, info) in enumerate(results.codecs.items()):
            if codec != EVIL:
                key = CodingKey(info.fingerprint, clip["clip_hash"], 0)
                samples = (0.4 / (number + 1) * wave).astype(np.float32)
                write_flac(results.folder / reconstruction_name(key), samples, RATE)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, page_path):
    """The report, freshly opened; afterwards there must be no complaint in the console."""
    browser.get("about:blank")
    browser.get(page_path.as_uri())
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def js(page, code, *arguments):
    return page.execute_script(f"return {code}", *arguments)


def click(page, selector):
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def press(page, key):
    page.execute_script(
        "document.body.dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, cancelable: true}))",
        key,
    )


def wait_for(page, condition, seconds=10.0):
    """Wait until a JavaScript condition holds."""
    deadline = time.monotonic() + seconds
    while not js(page, condition):
        assert time.monotonic() < deadline, f"still not: {condition}"
        time.sleep(0.03)


def open_clips(page):
    click(page, "#tab-clips")


PLAYER = "browser.player"


def play(page):
    click(page, "#play")
    wait_for(page, f"{PLAYER}.position > 0.2")


# --- page -------------------------------------------------------------------------------------


def test_opens_on_the_summary(page):
    shown = js(
        page, "[...document.querySelectorAll('[role=tabpanel]:not([hidden])')].map(p => p.id)"
    )
    assert shown == ["panel-summary"]


def test_every_tab_opens(page):
    names = js(page, "[...document.querySelectorAll('[role=tab]')].map(tab => tab.id.slice(4))")
    assert names == ["summary", "curves", "clips", "more-extra", "failures", "provenance"]
    for name in names:
        click(page, f"#tab-{name}")
        assert js(page, f"!document.getElementById('panel-{name}').hidden")
        assert js(page, "document.querySelectorAll('[role=tabpanel]:not([hidden])').length") == 1
        assert js(page, "location.hash") == f"#{name}"


def test_tabs_by_arrow_keys_and_by_address(page, page_path):
    from selenium.webdriver.common.keys import Keys

    click(page, "#tab-summary")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert js(page, "document.activeElement.id") == "tab-curves"
    page.get(page_path.as_uri() + "#provenance")
    wait_for(page, "!document.getElementById('panel-provenance').hidden")


def test_hostile_names_are_text(page):
    for tab in ("curves", "clips", "more-extra", "failures", "provenance"):
        click(page, f"#tab-{tab}")
    page.execute_script("document.getElementById('gallery-box').open = true")
    for index in range(9):
        page.execute_script("browser.open(arguments[0])", index)
    assert js(page, "window.__pwned === undefined")
    assert js(page, "document.scripts.length") == 2
    assert js(page, "document.querySelectorAll('img[onerror]').length") == 0
    assert js(page, "document.querySelector('h1').textContent") == f"Report {HOSTILE}"
    names = js(page, "[...document.querySelectorAll('#clip-list .name')].map(n => n.textContent)")
    assert f"speech-02{HOSTILE}" in names
    assert js(
        page, "document.querySelector('#panel-summary').textContent.includes(arguments[0])", EVIL
    )


# --- tables -----------------------------------------------------------------------------------


def column(page, number):
    return js(
        page,
        "[...document.querySelector('#panel-summary table').tBodies[0].rows]"
        ".map(row => row.cells[arguments[0]].dataset.v ?? '')",
        number,
    )


def test_sorting_by_number(page):
    heading = "#panel-summary thead th:nth-child(5)"
    click(page, f"{heading} button")
    values = [float(value) for value in column(page, 4) if value]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(CODECS)
    assert column(page, 4)[-1] == ""  # what could not run stays last
    assert js(page, f"document.querySelector('{heading}').ariaSort") == "descending"
    click(page, f"{heading} button")
    values = [float(value) for value in column(page, 4) if value]
    assert values == sorted(values)
    assert column(page, 4)[-1] == ""
    sorted_by = "document.querySelectorAll('#panel-summary [aria-sort=ascending]')"
    assert js(page, f"{sorted_by}.length") == 1


def test_sorting_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    page.execute_script(
        "document.querySelector('#panel-summary thead th:nth-child(2) button').focus()"
    )
    page.switch_to.active_element.send_keys(Keys.ENTER)
    values = [float(value) for value in column(page, 1) if value]
    assert values == sorted(values)


def test_figures_are_chosen_by_domain(page):
    click(page, "#tab-curves")
    shown = (
        "[...document.querySelectorAll('#figures figure:not([hidden])')].map(f => f.dataset.domain)"
    )
    assert js(page, shown) == ["speech"]
    click(page, "#figure-filter input[value='*']")
    assert js(page, shown) == ["speech", "music"]
    click(page, "#figure-filter input[value=music]")
    assert js(page, shown) == ["music"]
    assert js(page, "document.getElementById('figure-count').textContent") == "1 figure"


# --- clips ------------------------------------------------------------------------------------


def names(page):
    return js(page, "[...document.querySelectorAll('#clip-list li .name')].map(n => n.textContent)")


def choose(page, name, value):
    page.execute_script(
        "const field = document.querySelector('#clip-filter').elements[arguments[0]];"
        "field.value = arguments[1]; field.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def test_worst_clip_first_and_ranked_again(page):
    open_clips(page)
    first = names(page)
    assert len(first) == 9
    badness = js(page, "browser.order.map(index => browser.data.clips[index].badness)")
    assert badness == sorted(badness, reverse=True)
    # The script ranks as the report's writer does.
    primary = js(page, "browser.data.metrics.findIndex(m => m.name === 'visqol-speech-exp')")
    choose(page, "metric", str(primary))
    assert names(page) == first
    codec = js(page, "browser.data.codecs.findIndex(c => c.id === 'opus@6kbps')")
    choose(page, "codec", str(codec))
    assert names(page)[0] == "music-01"  # it failed
    values = js(
        page, f"browser.order.map(i => browser.data.clips[i].codecs[{codec}].scores[{primary}])"
    )
    assert values[1:] == sorted(values[1:])


def test_filter_and_search(page):
    open_clips(page)
    choose(page, "domain", "music")
    assert sorted(names(page)) == ["music-00", "music-01", "music-02"]
    choose(page, "text", "MUSIC-02")
    assert names(page) == ["music-02"]
    choose(page, "text", "nothing like it")
    assert names(page) == []


def test_nothing_is_loaded_before_it_is_heard(page):
    open_clips(page)
    assert js(page, "document.querySelectorAll('#deck audio').length") == 5
    assert js(page, f"{PLAYER}.voices.every(v => !v || v.networkState !== v.NETWORK_LOADING)")
    play(page)
    loaded = f"{PLAYER}.voices.filter(v => v && v.readyState > 0).length"
    assert js(page, loaded) == 1


def test_audio_plays_and_pauses(page):
    open_clips(page)
    play(page)
    assert js(page, f"{PLAYER}.clock.currentTime") > 0.2
    assert js(page, f"{PLAYER}.clock.muted === false && !{PLAYER}.clock.paused")
    assert float(js(page, "document.getElementById('playhead').style.left").rstrip("%")) > 0
    press(page, " ")
    stopped = js(page, f"{PLAYER}.position")
    time.sleep(0.3)
    assert js(page, f"{PLAYER}.position") == stopped
    assert js(page, f"{PLAYER}.voices.every(v => !v || v.paused)")


def test_switching_keeps_the_position(page):
    open_clips(page)
    play(page)
    for key, index in (("0", 0), ("3", 3), ("1", 1), ("3", 3)):
        before = js(page, f"[{PLAYER}.position, performance.now()]")
        press(page, key)
        wait_for(page, f"{PLAYER}.active === {index}", seconds=3)
        after = js(page, f"[{PLAYER}.position, performance.now()]")
        moved, passed = after[0] - before[0], (after[1] - before[1]) / 1000
        assert moved == pytest.approx(passed, abs=0.15)
        heard = js(page, f"{PLAYER}.voices.map(v => v && !v.muted && !v.paused)")
        assert [at for at, value in enumerate(heard) if value] == [index]


def test_switching_while_paused_keeps_the_position(page):
    open_clips(page)
    page.execute_script(f"{PLAYER}.seek(1.5)")
    press(page, "ArrowDown")
    assert js(page, f"{PLAYER}.position") == 1.5
    press(page, " ")
    wait_for(page, f"{PLAYER}.position > 1.6")
    assert js(page, f"{PLAYER}.position") < 2.5


def test_voice_buttons_show_what_is_heard(page):
    open_clips(page)
    click(page, "#voices tr[data-voice='3'] .voice")
    active = "document.querySelector('#voices tr.active').dataset.voice"
    assert js(page, active) == "3"
    name = js(page, "document.querySelector('#voices tr.active .voice').textContent")
    assert js(page, "document.getElementById('view-active-name').textContent") == name
    assert js(page, "document.getElementById('view-active').getAttribute('src')") == js(
        page, "browser.voices[3].image"
    )
    assert js(page, "document.querySelectorAll('#voices .voice:disabled').length") == 1


def test_region_loops(page):
    open_clips(page)
    click(page, "#play")
    page.execute_script("browser.setRegion([1.0, 1.4]); browser.player.seek(1.0)")
    wait_for(page, f"{PLAYER}.position > 1.05")
    for _ in range(30):
        time.sleep(0.05)
        assert 0.95 <= js(page, f"{PLAYER}.position") < 1.55
    click(page, "#clear-loop")
    click(page, "#loop")
    wait_for(page, f"{PLAYER}.position > 1.6")


def test_dragging_marks_a_region(page):
    open_clips(page)
    page.execute_script("document.getElementById('stage').scrollIntoView({block: 'center'})")
    play(page)  # so that the length is known
    surface = page.find_element("id", "surface")
    width = surface.size["width"]
    chain = webdriver.ActionChains(page)
    chain.move_to_element_with_offset(surface, -width // 4, 0).click_and_hold()
    chain.move_by_offset(width // 4, 0).release().perform()
    assert js(page, f"{PLAYER}.region") == pytest.approx([SECONDS / 4, SECONDS / 2], abs=0.05)
    assert js(page, "document.getElementById('loop').checked")
    page.execute_script("browser.setRegion(null)")


def test_end_stops_and_goes_back(page):
    open_clips(page)
    play(page)
    page.execute_script(f"{PLAYER}.seek({SECONDS - 0.3})")
    wait_for(page, f"!{PLAYER}.playing")
    assert js(page, f"{PLAYER}.position") == 0


def test_levels_are_matched_on_request(page):
    open_clips(page)
    volumes = f"{PLAYER}.voices.map(v => v && v.volume)"
    assert set(js(page, volumes)) == {1, None}
    click(page, "#match")
    matched = js(page, volumes)
    gains = js(page, "browser.voices.map(v => v.gain ?? null)")
    assert matched == pytest.approx(gains)
    assert min(gain for gain in matched if gain) < 1


def test_leaving_the_tab_stops_the_sound(page):
    open_clips(page)
    play(page)
    click(page, "#tab-summary")
    assert not js(page, f"{PLAYER}.playing")


def test_typing_in_the_search_field_does_not_play(page):
    open_clips(page)
    page.find_element("css selector", "#clip-filter input[type=search]").send_keys("a 1")
    assert not js(page, f"{PLAYER}.playing")


def test_differences_of_words(page):
    shown = "part.tagName ? `${part.tagName}:${part.textContent}` : part"
    marked = f"markDifferences(arguments[0], arguments[1]).map(part => {shown}).join('').trim()"
    assert js(page, marked, "One two, three", "one three four") == "one DEL:two, three INS:four"


@pytest.mark.parametrize("width", [1400, 800, 400])
def test_page_is_never_wider_than_the_window(page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for tab in ("summary", "curves", "clips", "failures", "provenance"):
            click(page, f"#tab-{tab}")
            assert js(page, "document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_long_table_of_a_further_tab_unfolds_and_sorts(page):
    click(page, "#tab-more-extra")
    table = "#panel-more-extra table"
    shown = f"document.querySelector('{table}').checkVisibility()"
    assert not js(page, shown)
    click(page, "#panel-more-extra summary")
    assert js(page, shown)
    click(page, f"{table} th:nth-child(2) button")
    first = f"document.querySelector('{table} tbody td:nth-child(2)').textContent"
    assert js(page, first) == "1"
    assert js(page, "window.__pwned") is None
