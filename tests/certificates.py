"""Certificates that nobody should accept unasked, made by openssl."""

import subprocess
from pathlib import Path

# `openssl req` makes none that is over; an authority may, and it may sign itself.
AUTHORITY = """
[ca]
default_ca = mine
[mine]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = named
x509_extensions = more
[named]
commonName = supplied
[more]
subjectAltName = IP:127.0.0.1
keyUsage = critical,digitalSignature,keyCertSign
"""
REQUEST = (
    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=vendor -keyout key.pem -out request.pem"
)
SIGN = (
    "ca -batch -config ca.cnf -selfsign -in request.pem -keyfile key.pem -startdate 20200101000000Z"
    " -enddate 20200102000000Z -out certificate.pem -notext"
)


def an_expired_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that was over on 2 January 2020; return it and its key."""
    (folder / "ca.cnf").write_text(AUTHORITY)
    (folder / "index.txt").touch()
    (folder / "serial").write_text("01\n")
    for command in (REQUEST, SIGN):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "certificate.pem", folder / "key.pem"


def a_certificate_of_our_own(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that nobody has signed, for 127.0.0.1 alone; return it and its key."""
    files = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=vendor"
    extensions = ["subjectAltName=IP:127.0.0.1", "keyUsage=critical,digitalSignature,keyCertSign"]
    named = [part for each in extensions for part in ("-addext", each)]
    out = ["-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([*command.split(), *named, *out], check=True, capture_output=True, timeout=120)
    return files
