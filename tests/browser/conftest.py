"""The pages in Debian's Chromium, against the real program with the demo model.

Every page that a test opens is watched: an error in a script, a violation of the content security policy, or a request to
another host fails the test at its end."""

import base64
import importlib.util
import pathlib
import sys
import urllib.parse

import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]

_spec = importlib.util.spec_from_file_location("program", ROOT / "tests/e2e/conftest.py")
program = importlib.util.module_from_spec(_spec)
sys.modules["program"] = program
_spec.loader.exec_module(program)
expect.set_options(timeout=20_000)  # the machine may be busy with something else

serve = program.serve
write_lora = program.write_lora

# Chromium tells nobody what a form held that a page sent: the forms are kept here.
WATCH = """
  const send = window.fetch;
  window.forms = [];
  window.fetch = (url, options) => {
    if (options?.body instanceof FormData) window.forms.push(options.body);
    return send(url, options);
  };
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it as they found it."""
    with serve(tmp_path_factory.mktemp("data"), "--dtype", "fp32") as running:
        yield running


class Visitor:
    """Somebody with a browser of their own: what it keeps is seen by no other visitor."""

    def __init__(self, browser, options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(20_000)
        self.context.add_init_script(WATCH)
        self.problems = []
        self.pages = []

    def open(self, url, path="/"):
        page = self.context.new_page()
        host = urllib.parse.urlsplit(url).netloc
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.note_request(request, host))
        page.goto(url + path)
        self.pages.append(page)
        return page

    def note_request(self, request, host):
        parts = urllib.parse.urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.netloc != host:
            self.problems.append(f"a request to {request.url}")

    def close(self):
        for page in self.pages:
            if not page.is_closed() and self.context:
                self.problems += page.evaluate("window.violations ?? []")
        self.context.close()
        assert not self.problems, self.problems


@pytest.fixture
def visitor(browser):
    """Makes visitors; each is closed, and asked for what went wrong, at the test's end."""
    made = []

    def make(**options):
        made.append(Visitor(browser, options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def page(visitor, server):
    """The first page, with a size that the demo model makes in no time."""
    page = open_make(visitor(), server.url)
    small(page)
    return page


def small(page):
    fill_fields(page, width=64, height=64)


def open_make(visitor, url, path="/"):
    page = visitor.open(url, path)
    page.get_by_role("button", name="Make a picture").wait_for()
    return page


def make(page, count=None):
    """Presses the button, and waits until the gallery has its pictures."""
    before = pictures(page).count()
    page.get_by_role("button", name="Make a picture").click()
    expect(pictures(page)).to_have_count(before + (count or 1))


def pictures(page):
    return page.locator(".pictures img")


def fill_fields(page, **fields):
    page.locator("details.more").evaluate("element => element.open = true")
    for name, value in fields.items():
        field = page.locator(f"#f-{name}")
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))


def slow(page):
    """Settings that take the demo model some seconds."""
    fill_fields(page, steps=200, n=4, width=256, height=256)


def body_of(request):
    return request.post_data_json


def sent_by(page, act, path="**/v1/images/generations"):
    """The request that `act` makes the page send."""
    with page.expect_request(path) as found:
        act()
    return found.value


def node():
    """The Node that Playwright brings along."""
    return str(compute_driver_executable()[0])


LAST_FORM = """async () => {
  const base64 = (blob) => new Promise((done) => {
    const reader = Object.assign(new FileReader(), { onload: () => done(reader.result.split(",")[1] ?? "") });
    reader.readAsDataURL(blob);
  });
  return Promise.all([...window.forms.at(-1)].map(async ([name, value]) => [name, await base64(new Blob([value]))]));
}"""


def parts_of_last_form(page):
    """The form that the page sent last: {name: bytes}."""
    return {name: base64.b64decode(value) for name, value in page.evaluate(LAST_FORM)}


def open_first(page):
    pictures(page).first.click()
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    return viewer
