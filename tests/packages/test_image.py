"""The container's root file system, run read-only and without root, as its Containerfile has it run."""

import json
import re
import shlex
import subprocess

import image
import pytest
import sbom
from conftest import ROOT, make_picture, needs_root, started

CONTAINERFILE = (ROOT / "packaging/Containerfile").read_text()


def instruction(name: str) -> str:
    return re.findall(rf"^{name} (.+)$", CONTAINERFILE, re.MULTILINE)[-1]


@pytest.fixture(scope="module")
def root(debs, small_debian, tmp_path_factory):
    """The packages in a small Debian, through the archive that `./dev package image` makes."""
    needs_root()
    folder = tmp_path_factory.mktemp("image")
    subprocess.run(["cp", "-a", small_debian, folder / "made"], check=True)
    image.install(folder / "made", sorted(debs.glob("*.deb")))
    image.pack(folder / "made", folder / "rootfs.tar", 1_700_000_000)
    (folder / "root").mkdir()
    subprocess.run(["tar", "-xf", folder / "rootfs.tar", "-C", folder / "root"], check=True)
    image.pack(folder / "made", folder / "again.tar", 1_700_000_000)
    assert (folder / "rootfs.tar").read_bytes() == (folder / "again.tar").read_bytes()
    (folder / "again.tar").unlink()
    return folder / "root"


def contained(root, *command: str) -> list[str]:
    """The root is read-only, as is all in it but /tmp and the volume; the user is the Containerfile's."""
    volume = instruction("VOLUME")
    script = (f'mount --bind "$0" "$0"; mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/tmp"; mount -t tmpfs -o mode=0777 tmpfs "$0{volume}"; '
              'mount --bind /dev "$0/dev"; mount -o remount,bind,ro "$0"; user=$1; shift; exec chroot --userspec="$user:$user" "$0" "$@"')
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, str(root), instruction("USER"), *command]


def test_it_serves_without_root_and_without_writing_to_itself(root):
    entry = json.loads(instruction("ENTRYPOINT"))
    asks = json.loads(instruction(r"HEALTHCHECK .* CMD"))
    environment = dict(pair.split("=", 1) for pair in shlex.split(instruction("ENV")))
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DIFFUSED_PORT": "0"}
    with started(contained(root, *entry), env=environment) as url:
        make_picture(url)
        healthy = subprocess.run(contained(root, *asks, url), capture_output=True, text=True)
        assert healthy.returncode == 0, healthy.stderr
    gone = subprocess.run(contained(root, *asks, url), capture_output=True, text=True)
    assert gone.returncode == 1 and gone.stderr.count("\n") == 1


def test_its_list_names_all_of_debian_that_is_in_it(root, source):
    listed = sbom.document(source, "diffused-rootfs", None, image.installed(root), "CONTAINS")
    assert {"libc6", "ca-certificates", "torch"} <= {package["name"] for package in json.loads(listed)["packages"]}


def test_it_cannot_write_where_it_need_not(root):
    refused = subprocess.run(contained(root, "sh", "-c", "id -u; touch /usr/x /etc/x"), capture_output=True, text=True)
    assert refused.returncode != 0 and refused.stdout.strip() != "0" and refused.stderr.count("Read-only") == 2
