"""The Debian packages, really installed in a Debian 12 of their own and removed from it without a trace."""

import re
import shutil
import subprocess

import image
import pytest
from conftest import ROOT, make, make_picture, started

ESSENTIAL_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# What dpkg, apt and adduser keep of everything that was ever there.
KEPT_BY_OTHERS = re.compile(r"var/(log|cache|lib/(dpkg|apt|systemd/deb-systemd))|etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$|etc/ld.so.cache$|(tmp|run)/")


def files(root) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not KEPT_BY_OTHERS.match(str(path.relative_to(root)))}


def inside(root, *command: str) -> str:
    done = subprocess.run(["chroot", root, *command], capture_output=True, text=True, env={**ESSENTIAL_ENVIRONMENT, "DEBIAN_FRONTEND": "noninteractive"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_service(root, command: str) -> list[str]:
    """A command of the unit, as its user, with /proc and nothing else."""
    return ["unshare", "--mount", "sh", "-ec", 'mount -t proc proc "$0/proc"; exec chroot --userspec=diffused:diffused "$0" $1', str(root), command]


def test_installed_started_and_purged_without_a_trace(debs, debian):
    names = ("diffused", "diffused-gateway", "diffused-libtorch")
    packages = sorted(debs.glob("*.deb"))
    assert sorted(file.name.partition("_")[0] for file in packages) == list(names)
    # What they need of Debian itself comes first: that stays.
    inside(debian, "apt-get", "update", "-qq")
    needed = {re.split(r"[ (|]", need.strip())[0] for file in packages
              for need in subprocess.run(["dpkg-deb", "-f", file, "Depends"], capture_output=True, text=True, check=True).stdout.split(",")}
    inside(debian, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "ca-certificates", *sorted(needed - set(names) - {""}))
    before, users = files(debian), (debian / "etc/passwd").read_text()
    groups = (debian / "etc/group").read_text()

    image.install(debian, packages)
    assert "diffused:" in (debian / "etc/passwd").read_text()
    state = debian / "var/lib/diffused"
    assert state.stat().st_mode & 0o777 == 0o700 and state.stat().st_uid != 0
    assert "diffused.toml" in inside(debian, "dpkg-query", "-W", "-f=${Conffiles}", "diffused")
    inside(debian, "bash", "-nc", "source /usr/share/bash-completion/completions/diffused")
    assert "serve" in inside(debian, "sh", "-c", "zcat /usr/share/man/man1/diffused.1.gz")
    unit = (debian / "lib/systemd/system/diffused.service").read_text()
    command = re.search(r"^ExecStart=(.+)$", unit, re.MULTILINE)[1]
    checked = subprocess.run(as_service(debian, f"{command} --check-config"), capture_output=True, text=True, env=ESSENTIAL_ENVIRONMENT)
    assert checked.returncode == 0 and "can be used" in checked.stdout, checked.stderr
    with started(as_service(debian, f"{command} --port 0"), env={**ESSENTIAL_ENVIRONMENT, "HOME": "/var/lib/diffused"}) as url:
        make_picture(url)
        asked = subprocess.run(["chroot", debian, "diffused-gateway", "health", url], capture_output=True, text=True)
        assert asked.returncode == 0 and '"job_store"' in asked.stdout
    assert list(state.iterdir()), "the unit's options keep its state elsewhere"

    inside(debian, "apt-get", "purge", "-y", "-qq", *names)
    assert sorted(files(debian) - before) == []
    assert (debian / "etc/passwd").read_text() == users and (debian / "etc/group").read_text() == groups


def test_the_gateway_needs_no_torch(debs):
    gateway, = debs.glob("diffused-gateway_*.deb")
    fields = subprocess.run(["dpkg-deb", "-f", gateway, "Depends"], capture_output=True, text=True, check=True).stdout
    assert "libtorch" not in fields and gateway.stat().st_size < 10e6


@pytest.mark.parametrize("name", ["diffused", "diffused-gateway"])
def test_the_unit_is_hardened(debs, tmp_path, name):
    """systemd's own measure, 0 to 10; less is better."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    deb, = debs.glob(f"{name}_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path], check=True)
    told = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", tmp_path / f"lib/systemd/system/{name}.service"],
                          capture_output=True, text=True).stdout
    assert float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)[1]) <= 2.5


def test_they_say_what_is_in_them(debs, tmp_path):
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, tmp_path], check=True)
    for name in ("diffused", "diffused-gateway", "diffused-libtorch"):
        assert '"SPDX-2.3"' in (tmp_path / f"usr/share/doc/{name}/sbom.spdx.json").read_text()
    assert (tmp_path / "etc/diffused/diffused.toml").read_text() == (ROOT / "packaging/diffused.toml").read_text()


def test_made_twice_they_are_the_same(debs, tmp_path):
    again = make("deb", tmp_path / "again")
    for file in debs.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
