"""The page in a real browser: no error, no request, the same numbers as TensorFlow, readable at phone width."""

import time

import numpy as np
import pytest

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.report import write_report
from rawcnn.run import film
from rawcnn.run.classify import load_run
from tests.command import TRAIN, call
from tests.report.browser import chromium, complaints, load, requests
from tests.report.photos import evil_photos, train_on

pytestmark = pytest.mark.slow
LENETS = ("lenet5", "lenet5_tanh", "lenet5_relu")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def runs(tmp_path_factory, digits):
    """A trained run of each LeNet, with its page."""
    made, home = {}, tmp_path_factory.mktemp("lenets")
    for net in LENETS:
        run = home / net
        call(TRAIN, f"--run={run}", f"--data_dir={digits}", f"--net={net}", "--epochs=4", "--batch_size=20",
             "--validation=0.1", home=home)  # fmt: skip
        made[net] = run, write_report(run)
    return made


@pytest.fixture(scope="module")
def photo_page(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    return write_report(train_on(evil_photos(place / "data"), place / "run"))


@pytest.fixture(params=[*LENETS, "photos"])
def page(request, runs, photo_page):
    return photo_page if request.param == "photos" else runs[request.param][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_loads_without_an_error_or_a_request(page, browser, scheme):
    load(browser, page, scheme=scheme)
    for element in browser.find_elements("css selector", "#net > .net > details > summary"):
        element.click()
    assert complaints(browser) == []
    assert requests(browser) == []
    assert browser.execute_script("return document.querySelectorAll('#arithmetic h3').length") == 1


def test_nothing_scrolls_sideways_on_a_phone(page, browser):
    load(browser, page, width=360)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    wide = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > 361"
        " && !one.closest('.scroll')).map((one) => one.tagName + '.' + one.className).slice(0, 5)"
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360, wide
    assert complaints(browser) == []


@pytest.mark.parametrize("net", LENETS)
def test_javascript_computes_what_tensorflow_computes_on_100_digits(net, runs, browser):
    run, path = runs[net]
    classifier, (images, _) = load_run(run), drawn_digits(100, start=7000)
    load(browser, path)
    found = browser.execute_script(
        "return arguments[0].map((p) => forward(lab.rows, preprocess(Float32Array.from(p), 28, 28, 1,"
        " page.live.preprocess)).map((output) => Array.from(output.data)))",
        images.reshape(100, -1).tolist(),
    )
    preprocess = getattr(classifier, "inputs", classifier).preprocess
    _, endpoints = classifier.net.endpoints(preprocess(images))
    for place, (name, expected) in enumerate(endpoints.items()):
        expected = expected.numpy().reshape(100, -1)
        values = np.array([of_image[place] for of_image in found])
        difference = np.abs(values - expected).max() / np.abs(expected).max()
        print(f"{net} {name}: {difference:.1e} of the largest")
        assert difference <= 1e-5, name


@pytest.mark.parametrize("net", LENETS)
def test_a_drawn_digit_is_read(net, runs, browser):
    """A one: a stroke down the middle of the pad."""
    from selenium.webdriver import ActionChains

    load(browser, runs[net][1])
    pad = browser.find_element("id", "pad")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", pad)
    pen = ActionChains(browser, duration=20).move_to_element_with_offset(pad, 10, -90).click_and_hold()
    for _ in range(9):
        pen = pen.move_by_offset(-2, 20)
    pen.release().pause(0.3).perform()
    assert browser.find_element("id", "answers").get_attribute("data-best") == "1"
    assert browser.find_element("id", "verdict").text == "The net says 1."
    assert complaints(browser) == []


def test_the_keyboard_reaches_every_number(runs, browser):
    from selenium.webdriver import Keys

    load(browser, runs["lenet5"][1])
    samples = browser.find_elements("css selector", "#samples button")
    samples[3].send_keys(Keys.ENTER)
    strip = browser.find_elements("css selector", "canvas.strip")[3]  # input, c1, s2, c3
    for key in (Keys.PAGE_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT):
        before = browser.find_element("css selector", "#arithmetic h3").text
        strip.send_keys(key)
        after = browser.find_element("css selector", "#arithmetic h3").text
        assert after.startswith("c3, map") and after != before
    assert samples[3].get_attribute("aria-pressed") == "true"


def test_a_pixel_of_a_map_shows_what_it_sees(runs, browser):
    from selenium.webdriver import ActionChains

    load(browser, runs["lenet5"][1])
    browser.execute_script("document.querySelectorAll('#net details')[2].open = true")
    maps = browser.find_elements("css selector", "#net details:nth-of-type(3) img.maps")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", maps)
    ActionChains(browser).move_to_element_with_offset(maps, 4, 6).perform()
    told = browser.find_element("css selector", "#net details:nth-of-type(3) .told").text
    assert told.startswith("map ") and "of the image" in told and "NaN" not in told


def test_the_slider_goes_through_the_epochs(runs, browser):
    from selenium.webdriver import Keys

    load(browser, runs["lenet5_relu"][1])
    slider = browser.find_element("id", "epoch")
    assert browser.find_element("id", "epoch-name").text == "4"
    last = frame_now(browser)
    slider.send_keys(Keys.HOME)
    assert browser.find_element("id", "frame-name").text == "0: the net before training"
    assert not browser.find_element("id", "frame-confusion").is_displayed()
    slider.send_keys(Keys.ARROW_RIGHT)
    assert browser.find_element("id", "epoch-name").text == browser.find_element("id", "frame-name").text == "1"
    assert "accuracy" in browser.find_element("id", "epoch-told").text
    first = frame_now(browser)
    assert first["filters"] != last["filters"] and first["confusion"] != last["confusion"]
    frames = film.read_frames(runs["lenet5_relu"][0], 4)
    for shown, frame in ((first, frames[1]), (last, frames[4])):
        counts = [[0 if cell == "·" else int(cell) for cell in line[:-1]] for line in shown["confusion"]]
        np.testing.assert_array_equal(counts, frame.confusion)
    slider.send_keys(Keys.END)
    assert frame_now(browser) == last and complaints(browser) == []


def frame_now(browser):
    """The picture of the filters, and the texts of the confusion matrix."""
    return browser.execute_script(
        "return {filters: document.getElementById('frame-filters').src, confusion:"
        " [...document.querySelectorAll('#frame-confusion tbody tr')].map((line) =>"
        " [...line.querySelectorAll('td')].map((cell) => cell.textContent))}"
    )


def test_the_film_plays_by_itself(runs, browser):
    load(browser, runs["lenet5_relu"][1])
    button = browser.find_element("id", "play")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    button.click()
    assert button.text == "Stop" and browser.find_element("id", "epoch-name").text == "0"
    for _ in range(100):
        if button.text == "Play":
            break
        time.sleep(0.1)
    assert browser.find_element("id", "epoch-name").text == "4" and complaints(browser) == []


def test_a_class_named_like_a_script_stays_text(photo_page, browser):
    load(browser, photo_page)
    assert "<script>alert(1)" in browser.find_element("tag name", "body").text
    assert "고양이" in browser.find_element("tag name", "body").text
    assert browser.execute_script("return document.scripts.length") == 2
    assert complaints(browser) == []
