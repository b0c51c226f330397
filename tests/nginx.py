"""A real nginx in front of a server, with the site of deploy/gunicorn in it."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rigs
import wire

SITE = Path(__file__).resolve().parent.parent / "deploy" / "gunicorn" / "nginx.conf"
# Debian puts it where only root looks.
NGINX = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")

MAIN = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site;
}}
"""


@contextmanager
def in_front_of(
    address: wire.Address,
    folder: Path,
    expected: str = "(?!)",
    others: Iterable[wire.Address] = (),
) -> Iterator[wire.Address]:
    """Run nginx as a proxy for these addresses, with its files in `folder`; where it listens.

    In the end its log must have nothing but lines in which the pattern `expected` is found.
    """
    assert NGINX is not None
    port = rigs.free_port()
    site = SITE.read_text()
    servers = [f" server {host}:{number};" for host, number in (address, *others)]
    for example, real in (
        (" server 127.0.0.1:8000;", "\n".join(servers)),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
    ):
        assert site.count(example) == 1
        site = site.replace(example, real)
    (folder / "site").write_text(site)
    # Its workers give root away, and with it the access to the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "main").write_text(MAIN.format(folder=folder, user=user))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(folder / "main")], stdout=log, stderr=log
        )
    here = "127.0.0.1", port
    try:
        rigs.until(lambda: answers(here))
        yield here
    finally:
        process.terminate()
        process.wait(rigs.START_TIMEOUT)
    lines = (folder / "log").read_text().splitlines()
    trouble = [line for line in lines if not re.search(expected, line)]
    assert not trouble, trouble


def answers(address: wire.Address) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError), socket.create_connection(address):
        return True
    return False
