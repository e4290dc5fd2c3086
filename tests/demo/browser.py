"""A real Chromium without a window, and what a test does and sees on the page."""

import base64
import contextlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

_ASKED = "Number(document.body.dataset.asked)"  # how many drawings the page has sent, or left out
_WEBGPU = "enable-unsafe-webgpu use-webgpu-adapter=swiftshader enable-features=Vulkan use-vulkan=swiftshader"


@contextlib.contextmanager
def open_browser(folder: pathlib.Path, *, width: int = 1440, height: int = 900, dark: bool = False, gpu: bool = False):
    """Opens Chromium, which saves files to `folder`; skips the test where there is none, which fails in CI.

    With `gpu` it has WebGPU, computed by the processor.
    """
    absent = pytest.fail if "CI" in os.environ else pytest.skip
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        absent("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        absent("needs selenium: pip install '.[browser-test]'")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    switches = "headless no-sandbox disable-quic no-first-run disable-background-networking "
    switches += _WEBGPU if gpu else "disable-gpu"
    for switch in (
        *switches.split(),
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(f"--{switch}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        narrow = width < 800
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": narrow}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": narrow})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield browser
    finally:
        browser.quit()


class DrawingPage:
    """The page in a browser."""

    def __init__(self, browser, url: str):
        self.browser = browser
        browser.get(url)
        self.settle(60)

    def wait(self, script: str, seconds: float = 20) -> None:
        """Waits until a line of JavaScript returns true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, seconds, 0.02).until(lambda browser: browser.execute_script(f"return {script}"))

    def settle(self, seconds: float = 20) -> None:
        """Waits until the newest drawing has been translated, and asserts that no error is shown."""
        still = "!document.body.classList.contains('busy')"
        self.wait(f"{_ASKED} > 0 && document.body.dataset.answered == {_ASKED} && {still}", seconds)
        errors = [line["message"] for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]
        shown = [self.find(id).text for id in ("error", "fatal") if self.find(id).is_displayed()]
        assert not errors + shown, errors + shown

    @contextlib.contextmanager
    def new_drawing(self):
        """Waits, after what is done in the `with` block, for another drawing and its translation."""
        before = int(self.browser.execute_script(f"return {_ASKED}"))
        yield
        self.wait(f"{_ASKED} > {before}")
        self.settle()

    def error(self) -> str:
        """Waits for an error, and returns what is said."""
        self.wait("!document.getElementById('error').hidden")
        return self.find("error").text

    def find(self, id: str):
        return self.browser.find_element("id", id)

    def click(self, id: str) -> None:
        self.find(id).click()

    def choose(self, name: str, value: str) -> None:
        """Chooses a tool, a colour or a view, by a click on its label."""
        radio = self.browser.find_element("css selector", f"input[name={name}][value='{value}']")
        radio.find_element("xpath", "..").click()

    def drag(self, *points: tuple[float, float]) -> None:
        """Draws with the mouse through points (x, y), parts of the drawing's width and height."""
        from selenium.webdriver.common.action_chains import ActionChains

        canvas = self.find("input")
        width, height = canvas.size["width"], canvas.size["height"]
        places = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in points]
        chain = ActionChains(self.browser, duration=20).move_to_element_with_offset(canvas, *places[0]).click_and_hold()
        for place in places[1:]:
            chain = chain.move_to_element_with_offset(canvas, *place)
        chain.release().perform()

    def touch(self, *points: tuple[float, float]) -> None:
        """Draws with a finger, likewise."""
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.find("input"))
        box = self.browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", self.find("input"))
        for i, (x, y) in enumerate(points):
            place = {"x": box["left"] + x * box["width"], "y": box["top"] + y * box["height"]}
            event = {"type": "touchMove" if i else "touchStart", "touchPoints": [place]}
            self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def press(self, *keys: str, holding: str = "") -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser, duration=1)
        chain = chain.key_down(holding).send_keys(*keys).key_up(holding) if holding else chain.send_keys(*keys)
        chain.perform()

    def pixels(self, id: str) -> np.ndarray:
        """Returns what the canvas "input" or "output" holds: uint8 (H, W, 3)."""
        script = (
            "const c = document.getElementById(arguments[0]);"
            "const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let text = ''; for (const byte of data) text += String.fromCharCode(byte);"
            "return JSON.stringify([c.height, c.width, btoa(text)])"
        )
        height, width, text = json.loads(self.browser.execute_script(script, id))
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]
