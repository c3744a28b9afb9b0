"""The Debian packages: the server, the gateway, and the part of libtorch that the server needs."""

import dataclasses
import gzip
import os
import pathlib
import shutil
import tempfile

import manual
import sbom
from built import ROOT, Built, put, run, set_run_path, set_times, write

LIBTORCH = "usr/lib/diffused"
MAINTAINER = "diffused <diffused@localhost>"


@dataclasses.dataclass(frozen=True)
class Package:
    name: str
    summary: str
    about: str
    depends: tuple[str, ...] = ()
    recommends: str = ""
    service: str = ""  # the user of the service it has
    programs: tuple[str, ...] = ()


def packages(built: Built) -> list[Package]:
    return [
        Package("diffused", "image server for Hugging Face Diffusers models",
                "Makes pictures for many users at the same time over the OpenAI images API.",
                ("adduser", f"diffused-libtorch (= {built.version})"), "diffused-gateway", "diffused", ("diffused",)),
        Package("diffused-gateway", "gateway to image servers on one job store",
                "Takes requests and has them made by the servers of diffused that share its store.",
                ("adduser",), "", "diffused-gateway", ("diffused-gateway",)),
        Package("diffused-libtorch", f"libtorch {built.libtorch} for diffused",
                "The libraries of PyTorch that the image server is linked to."),
    ]


def lay_out_service(package: Package, root: pathlib.Path) -> None:
    name = package.name
    values = {"@NAME@": name, "@SERVE@": "diffused-gateway" if name == "diffused-gateway" else "diffused serve",
              "@CONFIG@": config_of(name)}
    unit = (ROOT / "packaging/systemd/service.in").read_text()
    for key, value in values.items():
        unit = unit.replace(key, value)
    write(root / f"lib/systemd/system/{name}.service", unit)
    example = (ROOT / "packaging" / pathlib.Path(config_of(name)).name).read_text()
    write(root / config_of(name).lstrip("/"), example.replace("/var/lib/diffused", f"/var/lib/{name}"))


def config_of(name: str) -> str:
    return "/etc/diffused/gateway.toml" if name == "diffused-gateway" else "/etc/diffused/diffused.toml"


def lay_out_programs(built: Built, package: Package, root: pathlib.Path) -> None:
    for program in package.programs:
        to = root / "usr/bin" / program
        built.put_program(program, to, f"/{LIBTORCH}" if program == "diffused" else "")
        page = manual.page(built, program)
        man = root / f"usr/share/man/man1/{program}.1.gz"
        man.parent.mkdir(parents=True)
        man.write_bytes(gzip.compress(page.encode(), mtime=0))
        write(root / f"usr/share/bash-completion/completions/{program}", manual.completion(built, program))


def lay_out(built: Built, package: Package, root: pathlib.Path) -> None:
    lay_out_programs(built, package, root)
    if package.service:
        lay_out_service(package, root)
    if package.name == "diffused":
        put(ROOT / "models/demo", root / "usr/share/diffused/models/demo")
    if package.name == "diffused-libtorch":
        for library in built.torch_libraries():
            put(library, root / LIBTORCH / library.name)
            set_run_path(root / LIBTORCH / library.name, "$ORIGIN")
    documents = root / "usr/share/doc" / package.name
    torch = {"diffused": "DEPENDS_ON", "diffused-libtorch": "CONTAINS"}.get(package.name, "")
    write(documents / "sbom.spdx.json", sbom.document(built, package.name, root, [], torch))
    write(documents / "README", f"diffused {built.version}, commit {built.commit}\n")


def system_packages(root: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """The Debian packages whose libraries the files of `root` are linked to, with the versions that have what they ask for."""
    files = [file for file in [*root.rglob("*")] if file.is_file() and (file.parent.name == "bin" or ".so" in file.name)]
    if not files:
        return []
    (scratch / "debian").mkdir(exist_ok=True)
    write(scratch / "debian/control", "Source: diffused\n\nPackage: diffused\nArchitecture: amd64\n")
    own = sorted({str(file.parent) for file in files if ".so" in file.name})
    told = run("dpkg-shlibdeps", "-O", "--ignore-missing-info", f"-l{scratch}/torch", *(f"-l{folder}" for folder in own),
               *(f"-e{file}" for file in sorted(files)), cwd=scratch, env={**os.environ, "LC_ALL": "C"})
    return sorted(told.strip().removeprefix("shlibs:Depends=").split(", ")) if told.strip() else []


def control(built: Built, package: Package, root: pathlib.Path, depends: list[str]) -> str:
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink())
    fields = {"Package": package.name, "Version": built.version, "Architecture": "amd64", "Maintainer": MAINTAINER,
              "Installed-Size": str(size // 1024), "Depends": ", ".join([*package.depends, *depends]), "Recommends": package.recommends,
              "Section": "graphics", "Priority": "optional", "Description": f"{package.summary}\n {package.about}"}
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def make_one(built: Built, package: Package, dist: pathlib.Path) -> list[pathlib.Path]:
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        root = scratch / "root"
        root.mkdir()
        root.chmod(0o755)
        lay_out(built, package, root)
        (scratch / "torch").symlink_to(built.torch_folder)
        text = control(built, package, root, system_packages(root, scratch))
        write(root / "DEBIAN/control", text)
        if package.service:
            write(root / "DEBIAN/conffiles", config_of(package.name) + "\n")
            for script in ("postinst", "prerm", "postrm"):
                source = (ROOT / "packaging/debian" / script).read_text()
                write(root / "DEBIAN" / script, source.replace("@NAME@", package.name), 0o755)
        set_times(root, built.time)
        deb = dist / f"{package.name}_{built.version}_amd64.deb"
        # One thread, as the bytes depend on how many there are.
        run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z6", "--threads-max=1", "--build", root, deb,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(built.time)})
        shutil.copyfile(root / "usr/share/doc" / package.name / "sbom.spdx.json", deb.with_suffix(".spdx.json"))
        return [deb, deb.with_suffix(".spdx.json")]


def make(built: Built, dist: pathlib.Path) -> list[pathlib.Path]:
    return [file for package in packages(built) for file in make_one(built, package, dist)]
