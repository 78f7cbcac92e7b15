"""Types items into the page of `wgrec serve` in headless Chromium, looks at what it shows, and takes pictures of it.

    python3 experiments/serve/page.py URL FOLDER

Needs selenium, chromium and chromium-driver.
"""

import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


def browser(width, dark):
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", f"window-size={width},900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    return chrome


def rows(chrome, where):
    # At once: the page replaces all rows when an answer comes.
    return chrome.execute_script(f"return [...document.querySelectorAll('#{where} li')].map(row => row.innerText)")


def main():
    url, folder = sys.argv[1], Path(sys.argv[2])
    for name, width, dark in (("wide", 1100, False), ("narrow", 400, False), ("dark", 1100, True)):
        chrome = browser(width, dark)
        chrome.get(url)
        until = lambda what: WebDriverWait(chrome, 10).until(what)
        until(lambda _: chrome.find_element(By.ID, "run").text)
        field = chrome.find_element(By.ID, "item")
        for number, text in enumerate(("Toy Story", "Matrix", "Alien"), 1):
            field.send_keys(text + Keys.ENTER)
            until(lambda _: len(rows(chrome, "history")) == number)
            until(lambda _: len(rows(chrome, "recommended")) == 10)
        shown, best = rows(chrome, "history"), rows(chrome, "recommended")
        assert "Toy Story" in shown[0] and "Matrix" in shown[1] and "Alien" in shown[2], shown
        seen = [row.split("×")[0].strip() for row in shown]
        assert not any(row.startswith(title) for title in seen for row in best), "what was seen is not recommended"
        chrome.save_screenshot(str(folder / f"{name}.png"))
        chrome.find_element(By.CSS_SELECTOR, "#history li button").click()
        until(lambda _: len(rows(chrome, "history")) == 2 and rows(chrome, "recommended") != best)
        field.send_keys("no such film at all" + Keys.ENTER)
        until(lambda _: "No item is called" in chrome.find_element(By.ID, "error").text)
        field.clear()
        field.send_keys("10" + Keys.ENTER)
        until(lambda _: len(rows(chrome, "history")) == 3)
        assert "GoldenEye" in rows(chrome, "history")[2], "an id is that item"
        chrome.find_element(By.ID, "clear").click()
        until(lambda _: not rows(chrome, "history") and not rows(chrome, "recommended"))
        problems = [line for line in chrome.get_log("browser") if "favicon" not in line["message"]]
        assert not problems, problems
        chrome.quit()
        print(f"{name}: {len(best)} titles, first {best[0]!r}")


main()
