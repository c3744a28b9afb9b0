"""What a package is made of, as SPDX 2.3 in JSON."""

import datetime
import hashlib
import json
import pathlib
import re

from built import Built, Library


def identifier(name: str) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def entry(name: str, version: str, purl: str) -> dict:
    return {"name": name, "SPDXID": identifier(name), "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]}


def file_entry(root: pathlib.Path, file: pathlib.Path) -> dict:
    data = file.read_bytes()
    return {"fileName": f"./{file.relative_to(root)}", "SPDXID": identifier(f"File-{file.relative_to(root)}"),
            "checksums": [{"algorithm": "SHA1", "checksumValue": hashlib.sha1(data).hexdigest()},
                          {"algorithm": "SHA256", "checksumValue": hashlib.sha256(data).hexdigest()}],
            "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"}


def document(built: Built, name: str, root: pathlib.Path | None, bundled: list[Library], with_torch: str) -> str:
    """Of the package `name`, whose files lie in `root`; without it they are not listed. `with_torch`: CONTAINS, DEPENDS_ON or nothing."""
    main = entry(name, built.version, f"pkg:generic/{name}@{built.version}")
    main["sourceInfo"] = f"commit {built.commit}"
    packages, relations = [main], [("SPDXRef-DOCUMENT", "DESCRIBES", main["SPDXID"])]
    for package, version in sorted({(library.package, library.version) for library in bundled}):
        packages.append(entry(package, version, f"pkg:deb/debian/{package}@{version}?arch=amd64&distro=bookworm"))
        relations.append((main["SPDXID"], "CONTAINS", packages[-1]["SPDXID"]))
    if with_torch:
        packages.append(entry("torch", built.libtorch, f"pkg:pypi/torch@{built.libtorch}"))
        relations.append((main["SPDXID"], with_torch, packages[-1]["SPDXID"]))
    paths = sorted(root.rglob("*")) if root else []
    files = [file_entry(root, path) for path in paths if path.is_file() and not path.is_symlink()]
    relations += [(main["SPDXID"], "CONTAINS", file["SPDXID"]) for file in files]
    text = json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"{name}-{built.version}",
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{built.version}-{hashlib.sha256(repr(files).encode()).hexdigest()[:32]}",
        "creationInfo": {"created": datetime.datetime.fromtimestamp(built.time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Tool: diffused/tools/package"]},
        "packages": packages, "files": files,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} for a, kind, b in relations]}, indent=1)
    return text + "\n"
