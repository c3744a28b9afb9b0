"""Faults of the disk and of the database under real servers with a model that only sleeps, while a client goes on sending jobs, asking
for pictures and for /health: what it must see meanwhile, that servers come back without a restart, and that every job that was
accepted ends completed, with its pictures.

    ./dev bench drills [pictures_full …] [--seconds 10] [--pause-seconds 30] [--seed 1]

Full disks are small file systems that only this program sees; without the right to mount (root) their drills are skipped.
"""
# builds: stub_server

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time

import cluster
import faults
from drill import Client, Drill, run
from nodes import STUB, Node

LEASE = 5.0
# Steps of 10 ms for the pictures asked for here, and a floor of free space that fits a small disk.
PROGRAM = [str(STUB), "--step-ms", "160", "--job-lease", str(LEASE), "--free-bytes-min", str(1 << 20)]
AWAY = {(503, "storage_failed")}
FULL = {(507, "storage_full")}


@contextlib.contextmanager
def servers_on(folder: pathlib.Path, options: list[str], count: int = 1):
    servers: list[Node] = []
    try:
        for _ in range(count):
            servers.append(Node(PROGRAM, options, folder / "log"))
        yield servers
    finally:
        for server in servers:
            server.kill()


# Each drill: arguments → what went wrong.


def disk_drill(arguments, small_jobs: bool, small_pictures: bool) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = folder / "data"
        disk = faults.SmallDisk(data if small_jobs else data / "images", 12)
        if small_jobs and not small_pictures:
            for each in ("images", "inputs"):
                faults.share_folder(folder / each, data / each)
        drill = Drill(disk.fill, disk.free, FULL, "picture_store" if small_pictures else "job_store", arguments.seconds,
                      url_goes_on=not small_pictures)
        with servers_on(folder, ["--data-dir", str(data)]) as servers:
            wrong = run(drill, servers, arguments.seed)
        if (check := sqlite3.connect(data / "jobs.db").execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            wrong.append(f"jobs.db: {check}")
        disk.unmount()
        for each in ("images", "inputs"):
            subprocess.run(["umount", "--quiet", "--lazy", str(data / each)], check=False, capture_output=True)
        return wrong


def pictures_full(arguments):
    return disk_drill(arguments, small_jobs=False, small_pictures=True)


def jobs_full(arguments):
    return disk_drill(arguments, small_jobs=True, small_pictures=False)


def both_full(arguments):
    return disk_drill(arguments, small_jobs=True, small_pictures=True)


@contextlib.contextmanager
def shared(database, arguments, url: str | None = None):
    """Two servers on the database, and their folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        options = ["--store", url or database.url, "--blobs", str(folder / "blobs"), "--data-dir", str(folder / "data")]
        with servers_on(folder, options, 2) as servers:
            yield servers, folder


def on_database(arguments, database, break_it, mend_it, **changes) -> list[str]:
    with shared(database, arguments) as (servers, _):
        drill = dataclasses.replace(Drill(break_it, mend_it, AWAY, "job_store", arguments.seconds), **changes)
        return run(drill, servers, arguments.seed)


def database_paused(arguments):
    with cluster.cluster() as database:
        return on_database(arguments, database, lambda: faults.send_to_all(database.process.pid, signal.SIGSTOP),
                           lambda: faults.send_to_all(database.process.pid, signal.SIGCONT), seconds=arguments.pause_seconds)


def database_stopped(arguments):
    with cluster.cluster() as database:
        return on_database(arguments, database, lambda: database.stop(signal.SIGINT), database.start)


def password(arguments):
    """Wrong at the start of a server, then changed under running ones and changed back."""
    with cluster.cluster() as database:
        access = database.data / "pg_hba.conf"
        database.ask("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right'")
        access.write_text("local all guarded scram-sha-256\n" + access.read_text())
        database.ask("SELECT pg_reload_conf()")

        def change(word: str):
            database.ask(f"ALTER ROLE guarded PASSWORD '{word}'")
            database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'diffused'")

        url = f"postgresql://guarded:right@/postgres?host={database.folder}"
        with shared(database, arguments, url) as (servers, folder):
            options = ["--store", url.replace("right", "secret9"), "--blobs", str(folder / "blobs"), "--data-dir", str(folder / "data")]
            refused = Node(PROGRAM, options, folder / "refused")
            status = refused.process.wait(10)
            said = (folder / "refused").read_text().strip()
            print(f"  with the wrong password: {said}")
            wrong = []
            if status == 0 or "password authentication failed" not in said or "secret9" in said:
                wrong.append(f"a server with the wrong password said: {said}")
            drill = Drill(lambda: change("other"), lambda: change("right"), AWAY, "job_store", arguments.seconds)
            wrong += run(drill, servers, arguments.seed)
            if "password authentication failed" not in (folder / "log").read_text():
                wrong.append("the log does not say that the password is wrong")
            return wrong


def database_slow(arguments):
    """Every byte 0.1 s later: nothing is refused. Then 8 s later, which is as good as away."""
    with cluster.cluster() as database, tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        way = faults.SlowWay(pathlib.Path(name) / "way", database.folder / ".s.PGSQL.5432")
        with shared(database, arguments, database.url.replace(str(database.folder), f"{name}/way")) as (servers, _):
            client = Client(servers, "job_store", arguments.seed)
            way.seconds = 0.1
            client.start()
            time.sleep(arguments.seconds)
            client.end()
            wrong = [f"slow by 0.1 s, and {a.kind} was answered with {a.status} {a.code}" for a in client.answers if a.status not in (200, 202)]
            jobs = [a.ms for a in client.answers if a.kind == "job"]
            print(f"  0.1 s each way: {len(jobs)} jobs accepted in {statistics.median(jobs):.0f} ms (median)")
            way.seconds = 0.0

            def slow(seconds):
                way.seconds = seconds

            drill = Drill(lambda: slow(8.0), lambda: slow(0.0), AWAY, "job_store", 2 * arguments.seconds)
            return wrong + run(drill, servers, arguments.seed)


def database_full(arguments):
    """The disk of the table is full; the database itself goes on."""
    with cluster.cluster() as database, tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        disk = faults.SmallDisk(pathlib.Path(name) / "small", 12)
        place = disk.folder / "table"
        place.mkdir()
        os.chown(place, os.stat(database.folder).st_uid, os.stat(database.folder).st_gid)
        database.ask(f"CREATE TABLESPACE small LOCATION '{place}'")
        database.ask("ALTER DATABASE postgres SET default_tablespace = small")
        try:
            return on_database(arguments, database, disk.fill, disk.free, refusals=FULL)
        finally:
            database.stop()
            disk.unmount()


def database_disk_full(arguments):
    """All of the database's disk is full, its log too: it goes down, and is started again when there is room."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="diffused_pg_"))
    disk = faults.SmallDisk(folder, 96)
    database = None
    try:
        database = cluster.Cluster(folder, "min_wal_size = 32MB\nmax_wal_size = 32MB")

        def fill():
            disk.fill()
            # Sooner or later the next piece of its log has no room, which is what ends it.
            for sql in ("SELECT txid_current()", "SELECT pg_switch_wal()") * 6:
                with contextlib.suppress(RuntimeError):
                    database.ask(sql)

        def mend():
            print(f"  the database {'goes on' if database.process.poll() is None else 'went down'}")
            disk.free()
            if database.process.poll() is not None:  # what watches over it does the same
                database.start()

        return on_database(arguments, database, fill, mend, refusals=FULL | AWAY)
    finally:
        if database is not None and database.process.poll() is None:
            database.stop()
        disk.unmount()
        folder.rmdir()


NEED_MOUNTS = {"pictures_full": pictures_full, "jobs_full": jobs_full, "both_full": both_full, "database_full": database_full,
               "database_disk_full": database_disk_full}
DRILLS = {**NEED_MOUNTS, "database_paused": database_paused, "database_stopped": database_stopped, "password": password,
          "database_slow": database_slow}


def main():
    faults.with_private_mounts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", default=list(DRILLS), help=f"of {', '.join(DRILLS)}")
    parser.add_argument("--seconds", type=float, default=10, help="how long a fault lasts")
    parser.add_argument("--pause-seconds", type=float, default=30, help="how long the database stands still")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = False
    for name in arguments.drills:
        print(f"{name} (load {os.getloadavg()[0]:.0f})", flush=True)
        if name in NEED_MOUNTS and not faults.can_mount():
            print("  skipped: it mounts a small file system, which needs root and `unshare --mount`")
            continue
        wrong = DRILLS[name](arguments)
        failed = failed or bool(wrong)
        for text, count in collections.Counter(wrong).most_common(12):
            print(f"  WRONG: {text}" + (f" ({count} times)" if count > 1 else ""), flush=True)
        print("  as it should be" if not wrong else "", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
