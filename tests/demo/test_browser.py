"""The page in a real Chromium: one draws a window and a door, and the translation follows."""

import base64
import io
import time

import numpy as np
import pytest
from browser import DrawingPage, open_browser
from PIL import Image
from serving import serving

from pix2pix_jax.data.files import images
from pix2pix_jax.data.sources.drawn_facades.draw import LABELS
from pix2pix_jax.demo import serve, site
from pix2pix_jax.demo.brushes import Brushes
from pix2pix_jax.demo.server import Server
from pix2pix_jax.demo.translation import Drawings

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def drawings(model):
    return Drawings(model)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with open_browser(folder) as browser:
        browser.folder = folder
        yield browser


@pytest.fixture
def drawing(browser, page):
    return DrawingPage(browser, page.url)


def saved(folder, name: str) -> np.ndarray:
    """Waits for a file that the page saves, reads it and deletes it."""
    path, deadline = folder / name, time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, name
        time.sleep(0.02)
    image = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    path.unlink()
    return image


def colours(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(int(v) for v in colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0)}


def test_a_window_and_a_door(drawing, browser, drawings):
    before = drawing.pixels("input"), drawing.pixels("output")
    np.testing.assert_array_equal(before[1], drawings.translate_array(before[0]))
    drawing.choose("tool", "rectangle")
    drawing.choose("colour", "window")
    drawing.drag((0.2, 0.2), (0.4, 0.4))
    drawing.choose("colour", "door")
    drawing.drag((0.6, 0.6), (0.8, 0.97))
    drawing.settle()
    after = drawing.pixels("input"), drawing.pixels("output")
    assert (after[0][7:12, 7:12] == LABELS["window"]).all() and (after[0][20:30, 20:25] == LABELS["door"]).all()
    assert colours(after[0]) <= set(LABELS.values())
    assert (after[1] != before[1]).any()
    np.testing.assert_array_equal(after[1], drawings.translate_array(after[0]))

    drawing.click("save-input")
    np.testing.assert_array_equal(saved(browser.folder, "drawing.png"), after[0])
    drawing.click("save-output")
    np.testing.assert_array_equal(saved(browser.folder, "translation.png"), after[1])

    drawing.click("undo")
    drawing.click("undo")
    drawing.settle()
    for id, expected in zip(("input", "output"), before, strict=True):
        np.testing.assert_array_equal(drawing.pixels(id), expected)
    drawing.click("redo")
    drawing.click("redo")
    drawing.settle()
    np.testing.assert_array_equal(drawing.pixels("output"), after[1])


def test_every_tool_leaves_whole_pixels_of_one_colour(drawing):
    drawing.click("clear")
    drawing.choose("colour", "blind")
    for tool, points in {
        "brush": ((0.1, 0.1), (0.5, 0.3), (0.9, 0.1)),
        "line": ((0.1, 0.5), (0.3, 0.9), (0.9, 0.6)),
        "rectangle": ((0.3, 0.4), (0.45, 0.47)),
    }.items():
        before = drawing.pixels("input")
        drawing.choose("tool", tool)
        drawing.drag(*points)
        pixels = drawing.pixels("input")
        assert colours(pixels) == {LABELS["facade"], LABELS["blind"]}
        assert (pixels != before).any(), tool
    drawing.choose("tool", "fill")
    drawing.choose("colour", "shop")
    drawing.drag((0.02, 0.98))
    filled = drawing.pixels("input")
    assert colours(filled) == {LABELS["shop"], LABELS["blind"]} or (filled == LABELS["shop"]).all(-1).sum() > 100
    drawing.settle()


def test_keys_alone_draw(drawing):
    from selenium.webdriver.common.keys import Keys

    drawing.click("clear")
    drawing.press("r", "4")  # rectangle, door
    drawing.browser.execute_script("document.getElementById('input').focus()")
    drawing.press(Keys.ARROW_LEFT, Keys.SPACE, *[Keys.ARROW_DOWN] * 3, *[Keys.ARROW_RIGHT] * 2, Keys.SPACE)
    drawing.settle()
    pixels = drawing.pixels("input")
    assert (pixels[16:23, 14:19] == LABELS["door"]).all()
    assert (pixels == LABELS["door"]).all(-1).sum() == 7 * 5
    drawing.press("z", holding=Keys.CONTROL)
    assert (drawing.pixels("input") == LABELS["facade"]).all()


def test_a_picture_is_opened_and_made_labels(drawing, tmp_path, drawings):
    big = np.zeros((100, 200, 3), np.uint8)
    big[:] = LABELS["background"]
    big[:, 120:150] = LABELS["door"]  # in the right half of the pair, which is the input
    noisy = (big.astype(int) + np.random.default_rng(0).integers(-9, 10, big.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "pair.png")
    with drawing.new_drawing():
        drawing.find("file").send_keys(str(tmp_path / "pair.png"))
    pixels = drawing.pixels("input")
    assert colours(pixels) == {LABELS["background"], LABELS["door"]}
    assert (pixels[:, 8:15] == LABELS["door"]).all() and (pixels[:, 17:] == LABELS["background"]).all()
    np.testing.assert_array_equal(drawing.pixels("output"), drawings.translate_array(pixels))


def test_blends_at_borders_become_a_neighbour(drawing, tmp_path):
    """Between the blue of the background and a red molding is a colour that is nearest to that of a shop."""
    picture = np.full((32, 32, 3), LABELS["background"], np.uint8)
    picture[:, 20:] = LABELS["molding"]
    picture[:, 19] = np.mean([LABELS["background"], LABELS["molding"]], axis=0)
    Image.fromarray(picture).save(tmp_path / "blended.png")
    with drawing.new_drawing():
        drawing.find("file").send_keys(str(tmp_path / "blended.png"))
    assert colours(drawing.pixels("input")) == {LABELS["background"], LABELS["molding"]}


def test_what_is_no_picture_is_said(drawing, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    before = drawing.pixels("input")
    drawing.find("file").send_keys(str(tmp_path / "broken.png"))
    assert "not a picture" in drawing.error()
    np.testing.assert_array_equal(drawing.pixels("input"), before)


def test_an_example_is_one_click(drawing):
    first = drawing.pixels("input")
    with drawing.new_drawing():
        drawing.browser.find_elements("css selector", "#strip button")[3].click()
    assert (drawing.pixels("input") != first).any()


@pytest.fixture(scope="module")
def sketching(model, drawings):
    """The server of a page for drawings of lines."""
    chosen = Brushes("edges", {"ink": (0, 0, 0), "paper": (255, 255, 255)}, (255, 255, 255))
    about = {"title": "lines", "num_examples": 0, "has_dropout": True, "runs_in": {"place": "server"}}
    files = site.files(site.settings(model.config, chosen, **about), [])
    with serving(Server(files, drawings.translate, num_bytes=drawings.num_bytes)) as server:
        yield server


def test_pencil_and_eraser(browser, sketching):
    drawing = DrawingPage(browser, sketching.url)
    assert (drawing.pixels("input") == 255).all()
    drawing.choose("tool", "rectangle")
    drawing.drag((0.2, 0.2), (0.6, 0.6))
    ink = (drawing.pixels("input") == 0).all(-1)
    assert ink.sum() == 4 * 13 and not ink[8:19, 8:19].any()  # an outline, one pixel wide
    drawing.choose("tool", "eraser")
    drawing.drag((0.1, 0.2), (0.9, 0.2))
    assert (drawing.pixels("input")[6] == 255).all() and colours(drawing.pixels("input")) == {(0,) * 3, (255,) * 3}
    assert not drawing.find("colours").is_displayed()
    before = drawing.find("dice"), drawing.pixels("output")
    drawing.click("dice")
    drawing.settle()
    assert before[0].is_displayed()


def test_a_photograph_is_painted_over_with_any_colour(model, trained, browser):
    with serving(serve.make_server(model, trained, host="127.0.0.1", port=0, palette="none")) as server:
        drawing = DrawingPage(browser, server.url)
        well = browser.find_element("css selector", "input[type=color]")
        browser.execute_script("arguments[0].value = '#123456'; arguments[0].dispatchEvent(new Event('input'))", well)
        drawing.drag((0.5, 0.2), (0.5, 0.8))
        assert (drawing.pixels("input")[10:22, 16] == (0x12, 0x34, 0x56)).all()


DROP = """
const [name, text, kind] = arguments;
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], name, {type: "image/png"}));
const options = {bubbles: true, cancelable: true};
document.body.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, {...options, clipboardData: data})
                                             : new DragEvent(kind, {...options, dataTransfer: data}));
"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(drawing, browser, kind):
    picture = np.full((40, 30, 3), LABELS["shop"], np.uint8)
    encoded = base64.b64encode(images.encode(picture, ".png")).decode()
    with drawing.new_drawing():
        browser.execute_script(DROP, "shop.png", encoded, kind)
    assert (drawing.pixels("input") == LABELS["shop"]).all()
    drawing.click("save-input")
    assert saved(browser.folder, "drawing.png").shape == (40, 30, 3)  # of the size of the picture


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)])
def test_all_is_in_sight(page, tmp_path, width, height, dark):
    """No control is cut off at the sides, both pictures are seen at once, and the slider is over both."""
    with open_browser(tmp_path, width=width, height=height, dark=dark) as browser:
        drawing = DrawingPage(browser, page.url)
        for view in ("sides", "slider"):
            drawing.choose("view", view)
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, (view, wide)
            boxes = {
                id: browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", drawing.find(id))
                for id in ("input", "output", "undo", "save-input", "save-output", "size")
            }
            assert all(0 <= box["left"] < box["right"] <= width for box in boxes.values()), boxes
            assert all(boxes[id]["bottom"] <= height for id in ("input", "output")), boxes
            assert min(boxes["input"][side] for side in ("width", "height")) >= 300
            assert (boxes["input"] == boxes["output"]) == (view == "slider")
        background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (np.mean([int(v) for v in background[4:-1].split(",")]) < 60) == dark


def test_a_finger_draws(page, tmp_path):
    with open_browser(tmp_path, width=390, height=844) as browser:
        drawing = DrawingPage(browser, page.url)
        drawing.click("clear")
        drawing.choose("colour", "balcony")
        drawing.touch((0.25, 0.5), (0.5, 0.6), (0.75, 0.7))
        drawing.settle()
        pixels = drawing.pixels("input")
        assert (pixels[17:22, 9:23] == LABELS["balcony"]).all() and colours(pixels) <= set(LABELS.values())


def test_a_server_that_has_gone_is_said(model, trained, tmp_path):
    with open_browser(tmp_path) as browser:
        with serving(serve.make_server(model, trained, host="127.0.0.1", port=0)) as server:
            drawing = DrawingPage(browser, server.url)
        drawing.click("clear")
        assert "pix2pix demo" in drawing.error()
