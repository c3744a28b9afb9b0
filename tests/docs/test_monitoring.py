"""The files of docs/monitoring: Prometheus reads them, their rules fire when they should, and all that they ask for exists."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "docs/monitoring"


@pytest.fixture(scope="module")
def promtool():
    """The program that checks what Prometheus reads: the machine's, or out of Debian's package, which is not installed for it."""
    program = shutil.which("promtool") or ROOT / "build/promtool/usr/bin/promtool"
    if not pathlib.Path(program).exists():
        fetched = ROOT / "build/promtool"
        fetched.mkdir(parents=True, exist_ok=True)
        done = subprocess.run("apt-get download prometheus && dpkg-deb -x prometheus_*.deb .", shell=True, cwd=fetched, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"there is no promtool, and Debian's could not be fetched: {done.stderr.strip()}")

    def run(*arguments, cwd=FOLDER):
        done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_prometheus_takes_the_configuration(promtool):
    promtool("check", "config", "prometheus.yml")


def test_the_rules_fire_when_they_should_and_only_then(promtool):
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_the_dashboard_asks_what_prometheus_understands(promtool, tmp_path):
    rules = [{"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m").replace("$instance", ".*")}
             for number, text in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", "rules.yml", cwd=tmp_path)


def test_panels_do_not_lie_on_each_other():
    places = [panel["gridPos"] for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]]
    assert len({(place["x"], place["y"]) for place in places}) == len(places)


@pytest.mark.parametrize("file", ["docs/monitoring/alerts.yml", "docs/monitoring/dashboard.json", "docs/scaling.md"])
def test_every_figure_that_is_named_is_one_that_servers_have(file):
    sources = "".join(path.read_text() for path in [*(ROOT / "src/app").glob("*metrics.cpp"), ROOT / "src/engine/metrics.cpp"])
    known = {name.removeprefix("diffused_") for name in re.findall(r'"((?:diffused_)?[a-z]+(?:_[a-z]+)+)"', sources)}
    named = set(re.findall(r"\b(diffused_[a-z_]+|process_[a-z_]+)\b", (ROOT / file).read_text()))
    for name in named:
        plain = re.sub(r"_(bucket|sum|count)$", "", name).removeprefix("diffused_")
        assert plain in known or name.removeprefix("diffused_") in known, name
