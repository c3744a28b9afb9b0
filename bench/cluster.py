"""A PostgreSQL of its own in a temporary folder, reached by a socket there, ended with whoever made it. For tests and measures."""

import concurrent.futures
import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time


def newest_programs() -> pathlib.Path:
    versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not versions:
        raise SystemExit("the Debian package postgresql is missing")
    return versions[-1]


class Cluster:
    def __init__(self, folder: pathlib.Path, settings: str = ""):
        self.folder = folder
        self.data = folder / "data"
        self.programs = newest_programs()
        # PostgreSQL does not run as root; Debian's package brings this user.
        self.as_user = ["/usr/bin/setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self.as_user += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        self.run("initdb", "--pgdata", str(self.data), "--auth", "trust", "--username", "postgres", "--encoding", "UTF8",
                 "--locale", "C", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nmax_connections = 200\n{settings}\n")
        # The server dies with the thread that started it, so that is one which lives as long as we do.
        self.starter = concurrent.futures.ThreadPoolExecutor(1)
        self.start()

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run([*self.as_user, str(self.programs / program), *arguments], capture_output=True, text=True, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")
        return done.stdout

    def start(self):
        self.starter.submit(self.start_here).result()

    def start_here(self):
        log = (self.folder / "log").open("a")
        self.process = subprocess.Popen([*self.as_user, str(self.programs / "postgres"), "-D", str(self.data)], stdout=log, stderr=log,
                                        cwd="/")
        ready = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder), "-U", "postgres"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.01)

    def stop(self, how=signal.SIGQUIT):
        """SIGQUIT is what a crash looks like to clients, and to the data."""
        self.process.send_signal(how)
        self.process.wait()

    def ask(self, sql: str) -> str:
        return self.run("psql", "-X", "-q", "-A", "-t", "-h", str(self.folder), "-U", "postgres", "-c", sql, "postgres").strip()

    @property
    def url(self) -> str:
        return f"postgresql:///postgres?host={self.folder}&user=postgres"


@contextlib.contextmanager
def cluster(settings: str = ""):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="diffused_pg_"))
    running = None
    try:
        running = Cluster(folder, settings)
        yield running
    finally:
        if running is not None and running.process.poll() is None:
            running.stop()
        shutil.rmtree(folder, ignore_errors=True)
