"""A PostgreSQL server of one's own, in a temporary folder, from the binaries that are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from search_spaces.errors import install_hint

USER = "postgres"  # the server refuses to run as root; Debian's package makes this user


def missing() -> str | None:
    """Why no server can be started here; None: it can."""
    if find_spec("psycopg") is None:
        return f"no driver; {install_hint('.[storage]')}"
    if _binaries() is None:
        return "no PostgreSQL: apt-get install postgresql"
    if os.geteuid() == 0 and (shutil.which("runuser") is None or USER not in {e.pw_name for e in pwd.getpwall()}):
        return f"PostgreSQL does not run as root, and there is no user '{USER}'"
    return None


class Server:
    """A server, started when made.

    Attributes:
        url: of its database, with a password.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
        self._folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self._folder, USER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        password = self._folder / "password"
        password.write_text("secret\n")
        password.chmod(0o644)
        access = ("-U", "nas", "-A", "scram-sha-256", f"--pwfile={password}")
        self._run("initdb", "-D", self._data, "--no-sync", *access)
        self.url = f"postgresql://nas:secret@127.0.0.1:{self._port}/postgres"
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        options = f"-p {self._port} -h 127.0.0.1 -k {self._folder}"
        self._run("pg_ctl", "-D", self._data, "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Shut down as a machine does that is switched off: nobody is waited for."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop it and delete what it held."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *words: str) -> None:
        binaries = _binaries()
        assert binaries is not None
        command = [str(binaries / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}; see {self._folder / 'log'}")


def _binaries() -> Path | None:
    """Folder of the newest server's programs; Debian keeps them off the search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parents[1].name))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None
