"""Rows into Postgres, beside `psql \\copy` of the same rows in binary into the same table.

    cargo build --release && python3 benches/postgres.py [--rows 2000000] [--runs 3]

Starts a throwaway server of its own, with fsync, on a free port. Standard library only.

- Levada's seconds are those of the whole process: start, generating the rows, checkpoint, end. psql's are those of a
  process that sends a file which is ready. CPU seconds are those of the client process; the server's work is the same.
- `generate` is the same pipeline with the rows thrown away: what is left of the difference is the sink's.
"""

import argparse
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import ROOT, Used


def programs():
    """The folder of the newest server's programs."""
    folders = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if folders:
        return max(folders, key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    return Path(found).parent if found else sys.exit("postgres is missing: .ci/services install postgres")


class Server:
    """A server with a folder of its own."""

    def __init__(self):
        self.bin = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="levada-bench-postgres-"))
        self.folder.chmod(0o755)
        # It refuses root.
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        data = self.folder / "data"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([self.bin / "initdb", "-D", data, *options], user=self.user, check=True, stdout=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_wal_size=8GB", "checkpoint_timeout=1h"]
        command = [self.bin / "postgres", "-D", data, "-p", str(self.port)]
        for setting in settings:
            command += ["-c", setting]
        log = open(self.folder / "service.log", "wb")
        self.process = subprocess.Popen(command, user=self.user, stdout=log, stderr=log, cwd=self.folder)
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            if self.process.poll() is not None:
                sys.exit((self.folder / "service.log").read_text())
            time.sleep(0.05)

    def sql(self, statements):
        """The answer, as psql prints it without ornament."""
        command = [self.bin / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", statements]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def psql(self, command):
        return Used([self.bin / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", command])

    def stop(self):
        self.process.send_signal(2)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def levada(args, folder, name, config):
    """Runs a pipeline of generated orders from nothing to its end."""
    work = folder / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    config = {
        "name": name,
        "trigger": "available-now",
        "checkpoint.location": str(work / "checkpoint"),
        "source.class": "Datagen",
        "source.kind": args.kind,
        "source.rows": str(args.rows),
        **config,
    }
    (work / "pipeline.json").write_text(json.dumps(config, indent=2))
    return Used([args.binary, "run", str(work / "pipeline.json")])


def show(what, rows, runs):
    """The run of median duration."""
    runs = sorted(runs, key=lambda used: used.seconds)
    used = runs[len(runs) // 2]
    rate = rows / used.seconds
    print(f"  {what:22} {rate:12,.0f} rows/s {used.seconds:7.2f} s {used.cpu:7.2f} CPU s {used.peak_mb:6.0f} MB peak", flush=True)
    return rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", default="orders", help="what Datagen makes: orders, cars, words")
    parser.add_argument("--binary", default=str(ROOT / "target/release/levada"))
    args = parser.parse_args()
    server = Server()
    folder = Path(tempfile.mkdtemp(prefix="levada-bench-", dir=server.folder.parent))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.rows:,} rows, median of {args.runs}")
    try:
        sink = {"sink.class": "PostgresSink", "sink.connection.url": server.url, "sink.table": "t"}
        levada(args, folder, "make", {**sink, "sink.auto.create": "true"})
        columns = server.sql("SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) "
                             "FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0")
        key = columns.split(" ")[0]
        checksum = "SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM t"
        expected = server.sql(checksum)
        print(f"  table: {columns}; {server.sql('SELECT pg_size_pretty(pg_relation_size(chr(116)))')}")
        copied = folder / "rows.bin"
        server.psql(f"\\copy t to '{copied}' (format binary)")

        def fresh(primary_key=False):
            server.sql(f"SET client_min_messages = warning; DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t ({columns}"
                       + (f", PRIMARY KEY ({key}))" if primary_key else ")") + "; CHECKPOINT")

        def checked(used):
            found = server.sql(checksum)
            if found != expected:
                sys.exit(f"the table holds {found} instead of {expected}")
            return used

        def ours(primary_key=False, prepare=None, **more):
            fresh(primary_key)
            if prepare:
                prepare()
            return checked(levada(args, folder, "run", {**sink, **{k.replace("_", "."): v for k, v in more.items()}}))

        def theirs(primary_key=False):
            fresh(primary_key)
            return checked(server.psql(f"\\copy t from '{copied}' (format binary)"))

        for title, primary_key in (("into a bare table", False), (f"into a table with the primary key {key}", True)):
            print(title)
            # In turn, so that both have the same neighbours.
            runs = [(ours(primary_key), theirs(primary_key)) for _ in range(args.runs)]
            mine = show("levada", args.rows, [run[0] for run in runs])
            other = show("psql \\copy binary", args.rows, [run[1] for run in runs])
            print(f"  ratio {mine / other:.2f}")
        print("upsert")
        upsert = {"sink_insert_mode": "upsert", "sink_pk_fields": key}
        show("levada, new rows", args.rows, [ours(True, **upsert) for _ in range(args.runs)])
        # The same rows, each with another quantity. VACUUM wants to be alone.
        def changed():
            server.psql(f"\\copy t from '{copied}' (format binary)")
            server.sql("UPDATE t SET quantity = quantity + 1")
            server.sql("VACUUM ANALYZE t")

        show("levada, changed rows", args.rows, [ours(True, changed, **upsert) for _ in range(args.runs)])
        print("without a sink")
        generated = [levada(args, folder, "null", {"sink.class": "Null"}) for _ in range(args.runs)]
        show("levada, generate", args.rows, generated)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        server.stop()


if __name__ == "__main__":
    main()
