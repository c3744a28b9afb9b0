"""The wheel: the programs with the libraries that not every system has, without libtorch, which the package torch brings."""

import base64
import hashlib
import pathlib
import shutil
import tempfile
import time
import zipfile

import sbom
from built import PROGRAMS, ROOT, Built, put, set_run_path, write

# Debian 12's C library is 2.36: older systems have not what the programs ask of it.
TAG = "py3-none-manylinux_2_36_x86_64"


def metadata(built: Built) -> str:
    lines = ["Metadata-Version: 2.1", "Name: diffused", f"Version: {built.version}",
             "Summary: A server for Hugging Face Diffusers models over the OpenAI images API, in C++ on libtorch",
             "Requires-Python: >=3.10", f"Requires-Dist: torch (=={built.torch_series}.*)",
             "Description-Content-Type: text/markdown", "", (ROOT / "packaging/wheel.md").read_text()]
    return "\n".join(lines)


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def lay_out(built: Built, root: pathlib.Path) -> None:
    """The files as they are to lie in site-packages, where the folder torch is beside ours."""
    package, info = root / "diffused", root / f"diffused-{built.version}.dist-info"
    put(ROOT / "packaging/wheel", package)
    put(ROOT / "models/demo", package / "share/diffused/models/demo")
    for program in PROGRAMS:
        built.put_program(program, package / "bin" / program, "$ORIGIN/../lib:$ORIGIN/../../torch/lib")
    bundled = built.libraries
    for library in bundled:
        put(library.file, package / "lib" / library.file.name, 0o755)
        set_run_path(package / "lib" / library.file.name, "$ORIGIN")
    write(info / "sboms/diffused.spdx.json", sbom.document(built, "diffused", root, bundled, "DEPENDS_ON"))
    write(info / "METADATA", metadata(built))
    write(info / "WHEEL", f"Wheel-Version: 1.0\nGenerator: diffused\nRoot-Is-Purelib: false\nTag: {TAG}\n")
    write(info / "entry_points.txt", "[console_scripts]\ndiffused = diffused.__main__:main\n")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    record = [f"{file.relative_to(root)},{digest(file.read_bytes())},{file.stat().st_size}\n" for file in files]
    write(info / "RECORD", "".join(record) + f"{info.name}/RECORD,,\n")


def pack(root: pathlib.Path, wheel: pathlib.Path, seconds: int) -> None:
    """In a fixed order and with one time; the RECORD last, as the format wants."""
    files = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda file: (file.name == "RECORD", str(file)))
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in files:
            member = zipfile.ZipInfo(str(file.relative_to(root)), time.gmtime(seconds)[:6])
            member.external_attr = (0o100000 | file.stat().st_mode & 0o777) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, file.read_bytes())


def make(built: Built, dist: pathlib.Path) -> list[pathlib.Path]:
    wheel = dist / f"diffused-{built.version}-{TAG}.whl"
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        lay_out(built, root)
        pack(root, wheel, built.time)
        document = next(root.glob("*.dist-info/sboms/*"))
        shutil.copyfile(document, dist / f"{wheel.stem}.spdx.json")
    return [wheel, dist / f"{wheel.stem}.spdx.json"]
