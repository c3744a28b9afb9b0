"""Watch: previews, places in the queue, cancelling, jobs in the background, and servers that refuse or die."""

import re
import signal
import urllib.parse

from conftest import expect, fill_fields, make, open_make, pictures, program, serve, slow

# Notes every text and every preview that the newest request shows.
RECORD = """() => {
  window.told = []; window.previews = [];
  new MutationObserver(() => {
    const text = document.querySelector(".told")?.textContent;
    if (text && window.told.at(-1) !== text) window.told.push(text);
    const url = document.querySelector(".strip img")?.src;
    if (url && window.previews.at(-1) !== url) window.previews.push(url);
  }).observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true, characterData: true });
}"""


def press_make(page):
    page.get_by_role("button", name=re.compile("Make a picture|Change the picture")).click()


def port_of(server):
    return urllib.parse.urlsplit(server.url).port


def running(server):
    return server.metric("diffused_requests_running") + server.metric("diffused_requests_waiting")


def test_previews_and_steps_come_in_order(page):
    fill_fields(page, steps=40, width=128, height=128)
    page.evaluate(RECORD)
    make(page)
    steps = [int(found[1]) for found in map(re.compile(r"Step (\d+) of 40").match, page.evaluate("window.told")) if found]
    assert steps == sorted(steps) and len(set(steps)) > 3
    assert len(page.evaluate("window.previews")) >= 3


def test_seconds_left_are_told(page):
    slow(page)
    press_make(page)
    expect(page.locator(".told")).to_contain_text(re.compile(r"Step \d+ of 200, about .* left"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".told")).to_have_text("Cancelled.")


def test_cancel_frees_the_device_at_once(page, server):
    slow(page)
    press_make(page)
    expect(page.locator(".told")).to_contain_text("Step")
    assert running(server) == 1
    page.get_by_role("button", name="Cancel").click()
    assert program.wait_until(lambda: running(server) == 0, 5) < 2
    expect(page.locator(".told")).to_have_text("Cancelled.")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".run")).to_have_count(0)


def test_leaving_the_page_frees_the_device_too(page, server):
    slow(page)
    press_make(page)
    expect(page.locator(".told")).to_contain_text("Step")
    page.close()
    program.wait_until(lambda: running(server) == 0, 5)


def test_several_requests_are_shown_at_a_time(page):
    slow(page)
    press_make(page)
    press_make(page)
    expect(page.locator(".run")).to_have_count(2)
    expect(page.locator(".told").nth(1)).to_contain_text("Step")
    for _ in range(2):
        page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_two_users_see_their_places_in_the_queue(visitor, tmp_path):
    keys = tmp_path / "keys"
    secrets = [program.make_key(keys, name) for name in ("anna", "berta")]
    with serve(tmp_path / "data", "--rows-max", "1", "--api-keys", str(keys)) as server:
        anna, berta = (open_with_key(visitor(), server.url, secret) for secret in secrets)
        for _ in range(3):
            slow(anna)
            press_make(anna)
        expect(anna.locator(".told").first).to_contain_text(re.compile(r"Waiting: [12] before it, about"))
        fill_fields(berta, steps=2)
        make(berta)  # a newcomer's turn comes before anna's third
        for _ in range(3):
            anna.get_by_role("button", name="Cancel").first.click()
        expect(anna.get_by_role("button", name="Cancel")).to_have_count(0)


def open_with_key(visitor, url, secret, path="/"):
    page = visitor.open(url, path)
    page.get_by_label("Key", exact=True).fill(secret)
    page.get_by_role("button", name="Use it").click()
    return page


def test_a_full_queue_is_shown_with_the_time_to_come_back(visitor, tmp_path):
    with serve(tmp_path, "--queue-jobs-max", "1", "--rows-max", "1") as server:
        page = open_make(visitor(), server.url)
        slow(page)
        for _ in range(2):
            press_make(page)
        expect(page.locator(".run")).to_have_count(2)
        press_make(page)
        expect(page.get_by_role("alert")).to_contain_text(re.compile("queue is full; try again in"))
        expect(page.locator(".run")).to_have_count(2)
        for _ in range(2):
            page.get_by_role("button", name="Cancel").first.click()
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_a_full_disk_is_shown(visitor, tmp_path):
    with serve(tmp_path, "--free-bytes-min", str(1 << 60)) as server:
        page = open_make(visitor(), server.url)
        with page.expect_response("**/v1/images/generations") as answer:
            page.get_by_role("button", name="In the background").click()
        assert answer.value.status == 507
        expect(page.get_by_role("alert")).to_contain_text(answer.value.json()["error"]["message"])


def test_a_server_that_dies_in_mid_stream_is_told_and_tried_again(visitor, tmp_path):
    with serve(tmp_path) as server:
        page = open_make(visitor(), server.url)
        slow(page)
        press_make(page)
        expect(page.locator(".told")).to_contain_text("Step")
        server.stop(signal.SIGKILL)
        expect(page.locator(".told")).to_have_text("Failed: The connection to the server was lost.")
        press_make(page)
        expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    with serve(tmp_path, port=port_of(server)):
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".told")).to_contain_text("Step")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".told")).to_have_text("Cancelled.")


def test_a_job_in_the_background_survives_a_reload_and_a_restart(visitor, tmp_path):
    with serve(tmp_path) as server:
        page = open_make(visitor(), server.url)
        slow(page)
        page.get_by_role("button", name="In the background").click()
        expect(page.locator(".tag")).to_have_text("in the background")
        expect(page.locator(".told")).to_contain_text("Step")
        page.reload()
        expect(page.locator(".told")).to_contain_text("Step")
        server.stop(signal.SIGKILL)
        expect(page.locator(".told")).to_contain_text("cannot be reached")
    with serve(tmp_path, "--job-lease", "0.5", port=port_of(server)):
        expect(pictures(page)).to_have_count(4, timeout=60_000)
        expect(page.locator(".told")).to_have_text("Finished.")
        page.reload()
        expect(page.locator(".told")).to_have_text("Finished.")
        expect(pictures(page)).to_have_count(4)
        page.get_by_role("button", name="Forget the job").click()
        expect(page.locator(".run")).to_have_count(0)


def test_a_job_in_the_background_can_be_cancelled(page):
    slow(page)
    page.get_by_role("button", name="In the background").click()
    expect(page.locator(".told")).to_contain_text("Step")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".told")).to_have_text("Cancelled.")
    page.get_by_role("button", name="Forget the job").click()
    expect(page.locator(".run")).to_have_count(0)


def test_a_wrong_key_is_told_and_a_right_one_lasts_as_long_as_the_tab(visitor, tmp_path):
    keys = tmp_path / "keys"
    secret = program.make_key(keys, "anna")
    with serve(tmp_path / "data", "--api-keys", str(keys)) as server:
        one = visitor()
        page = open_with_key(one, server.url, "sk-wrong")
        expect(page.locator("#key-dialog")).to_contain_text("Incorrect API key provided")
        page.get_by_label("Key", exact=True).fill(secret)
        page.get_by_role("button", name="Use it").click()
        fill_fields(page, steps=2)
        make(page)
        page.reload()
        make(page)
        other_tab = one.open(server.url)
        expect(other_tab.locator("#key-dialog")).to_be_visible()
        other_tab.get_by_label("Key", exact=True).fill(secret)
        other_tab.get_by_label("Keep it in this browser").check()
        other_tab.get_by_role("button", name="Use it").click()
        make(other_tab)
        make(open_make(one, server.url))
