"""Topics in and out, beside Kafka Connect and psql in the same run.

    cargo build --release && python3 benches/kafka.py [drain] [json] [postgres] [files] [--rows 4000000]

Starts a broker of its own on a free port, and with it what the peer needs: Kafka Connect 4.3.1 and Debezium's JDBC sink from
Maven (connect/fetch.sh), Postgres. Standard library only.

- Levada's seconds are those of the whole process: start, checkpoint, end. Connect's are those between its first commit
  and its last: the start of the JVM, and what it had done by then, are left out. The ratio is the worse for Levada.
- CPU seconds are those of the worker's process a million rows; the broker's and the database's come to both.
- The raw drain of librdkafka is in another language: `cargo bench -p levada-connector-kafka --bench drain`.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from bench import ROOT, Used
from kafka_servers import Connect, Kafka
from postgres import Server

SCHEMA = "order_id BIGINT, customer STRING, product STRING, quantity INT, price DECIMAL(10,2), ts TIMESTAMP"
CARS = "dataId STRING NOT NULL, trsmDy INT, trmnId STRING, trsmUtcTime DOUBLE, trsmYear STRING, trsmMt STRING, trsmTm STRING, " \
    "trsmMs STRING, vhcleLot DOUBLE, vhcleLat DOUBLE, vhcleEvt DOUBLE, trmnTypeCd STRING, gpsUtcTime DOUBLE, vhcleDrc DOUBLE, " \
    "vhcleSped DOUBLE, trnsmStatCd STRING, lcdtRevisnStatCd STRING, vhcleTypeCd STRING, rgtrId STRING, regDt TIMESTAMP"
PICKED = "dataId AS data_id, trmnId AS trmncd, vhcleLot AS detclot, vhcleLat AS detclat, gpsUtcTime AS gpsutctime, " \
    "vhcleSped AS vhclesped, vhcleTypeCd AS vhcletypecd"


class Runs:
    """Pipelines and their peers against one broker."""

    def __init__(self, args):
        self.args, self.kafka = args, Kafka()
        self.folder = Path(tempfile.mkdtemp(prefix="levada-bench-"))
        # The database's server reads what psql is told to read as another user.
        self.folder.chmod(0o755)

    def levada(self, name, config):
        work = self.folder / name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        config = {"name": name, "trigger": "available-now", "bootstrap.servers": self.kafka.bootstrap,
                  "checkpoint.location": str(work / "checkpoint"), **config}
        (work / "pipeline.json").write_text(json.dumps(config, indent=2))
        used = Used([self.args.binary, "run", "--progress", work / "progress", work / "pipeline.json"])
        progress = [json.loads(line) for line in (work / "progress").read_text().splitlines()]
        used.rows = sum(batch["numInputRows"] for batch in progress)
        return used

    def feed(self, topic, rows, kind, **sink):
        """Generated rows as JSON into a topic of four partitions."""
        used = self.levada(f"feed-{topic}", {
            "source.class": "Datagen", "source.kind": kind, "source.rows": str(rows), "sink.class": "Kafka", "sink.topic": topic,
            "sink.topic.creation.partitions": "4", "sink.delivery.guarantee": "at-least-once", "sink.kafka.linger.ms": "50",
            "sink.value.converter": "json", **{f"sink.{key}": value for key, value in sink.items()}})
        self.show(f"levada, {kind} → Kafka", rows, used)

    def show(self, what, rows, used):
        rate = rows / used.seconds
        return self.line(what, rate, used.cpu / rows, used.peak_mb)

    def line(self, what, rate, cpu, peak):
        print(f"  {what:32} {rate:12,.0f} /s {cpu * 1e6:7.2f} CPU s a million {peak:6.0f} MB peak", flush=True)
        return rate, cpu

    def best(self, run):
        """The fastest of some: whatever else the machine does only slows."""
        return max((run() for _ in range(self.args.runs)), key=lambda pair: pair[0])

    def both(self, ours, theirs):
        """The fastest of each, in turn, so that both have the same neighbours."""
        runs = [(ours(), theirs()) for _ in range(self.args.runs)]
        return tuple(max((run[side] for run in runs), key=lambda pair: pair[0]) for side in (0, 1))

    def peer(self, what, goal, connector, worker=None):
        connect = Connect(self.kafka, f"peer-{os.urandom(3).hex()}", connector, worker)
        try:
            return self.line(what, *connect.run(goal))
        finally:
            connect.stop()

    def ratio(self, ours, theirs):
        print(f"  ratio: rate {ours[0] / theirs[0]:.2f} ×, CPU 1/{theirs[1] / max(ours[1], 1e-12):.1f}", flush=True)


def drain(runs):
    print("drain: a topic into nothing, the whole process")
    rows = runs.args.rows
    runs.feed("drain", rows, "orders")
    null = {"connector.class": "Null", "topics": "drain"}
    for name, options in (("bytes", {"metadata.columns": ""}), ("all raw columns", {}),
                          ("JSON to 6 columns", {"value.converter": "json", "value.converter.schema": SCHEMA})):
        runs.best(lambda: runs.show(f"levada, {name}", rows, runs.levada("drain", {**null, **options})))


def json_converter(runs):
    print("json: JSON → typed columns → nothing, beside Connect's JsonConverter → nothing")
    rows = min(runs.args.rows, 2_000_000)
    runs.feed("json", rows, "orders")
    config = {"connector.class": "Null", "topics": "json", "value.converter": "json", "value.converter.schema": SCHEMA}
    ours = runs.best(lambda: runs.show("levada", rows, runs.levada("json", config)))
    theirs = runs.best(lambda: runs.peer("Connect", rows, {
        # What is converted is dropped before the sink: there is none in Connect that does nothing.
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "file": "/dev/null", "topics": "json",
        "transforms": "drop", "transforms.drop.type": "org.apache.kafka.connect.transforms.Filter"}))
    runs.ratio(ours, theirs)


def postgres(runs):
    print("postgres: a topic of cars → seven columns → a table")
    rows = runs.args.rows
    runs.feed("cars", rows, "cars")
    server = Server()
    try:
        pipeline = {
            "connector.class": "PostgresSink", "topics": "cars", "value.converter": "json", "value.converter.schema": CARS,
            "transforms": "pick", "transforms.pick.type": "Select", "transforms.pick.columns": PICKED,
            "connection.url": server.url, "table": "cars", "auto.create": "true",
            # One transaction, as the peer's is.
            "batch.max.bytes": "16 GB"}
        copied = runs.folder / "cars.bin"
        checksum = "SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM cars t"

        def ours():
            server.sql("SET client_min_messages = warning; DROP TABLE IF EXISTS cars, levada_offsets; CHECKPOINT")
            used = runs.levada("cars", pipeline)
            assert used.rows == rows and server.sql("SELECT count(DISTINCT data_id) FROM cars") == str(rows)
            return runs.show("levada", rows, used)

        # The broker's code is compiled by running, and the server makes the files of its log.
        ours()
        expected = server.sql(checksum)
        server.psql(f"\\copy cars to '{copied}' (format binary)")

        def theirs():
            server.sql("TRUNCATE cars; CHECKPOINT")
            used = server.psql(f"\\copy cars from '{copied}' (format binary)")
            assert server.sql(checksum) == expected
            return runs.show("psql \\copy binary", rows, used)

        mine, other = runs.both(ours, theirs)
        runs.ratio(mine, other)

        def at_once():
            """\\copy of the ready file, while the topic is read and decoded into nothing: no pipeline between the two."""
            config = {key: value for key, value in pipeline.items() if key not in ("connection.url", "table", "auto.create")}
            server.sql("TRUNCATE cars; CHECKPOINT")
            with concurrent.futures.ThreadPoolExecutor() as pool:
                since = time.monotonic()
                decoded = pool.submit(runs.levada, "decoded", {**config, "connector.class": "Null"})
                server.psql(f"\\copy cars from '{copied}' (format binary)")
                assert decoded.result().rows == rows
                seconds = time.monotonic() - since
            print(f"  {'both apart, at the same time':32} {rows / seconds:12,.0f} /s", flush=True)
            return rows / seconds

        bound = max(at_once() for _ in range(runs.args.runs))
        print(f"  what these cores can do of both: {bound / other[0]:.2f} × \\copy", flush=True)
        few = min(rows, 1_000_000)
        runs.feed("few-cars", few, "cars")
        runs.levada("picked", {
            "source.class": "Kafka", "source.topics": "few-cars", "source.value.converter": "json",
            "source.value.converter.schema": CARS, "transforms": "pick", "transforms.pick.type": "Select",
            "transforms.pick.columns": PICKED, "trigger": "available-now",
            "sink.class": "Kafka", "sink.topic": "picked", "sink.topic.creation.partitions": "4",
            "sink.delivery.guarantee": "at-least-once", "sink.value.converter": "json",
            "sink.value.converter.schemas.enable": "true"})
        server.sql("TRUNCATE cars; CHECKPOINT")
        other = runs.peer("Debezium's JDBC sink, insert", few, {
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "topics": "picked",
            "connection.url": "jdbc:" + server.url.replace("postgres://postgres@", "postgresql://"),
            "connection.username": "postgres", "connection.password": "none", "insert.mode": "insert",
            "primary.key.mode": "none", "schema.evolution": "none", "collection.name.format": "cars",
            "batch.size": "3000", "consumer.override.max.poll.records": "3000",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "true"},
            {"connector.client.config.override.policy": "All"})
        assert server.sql("SELECT count(*) FROM cars") == str(few)
        runs.ratio(mine, other)
    finally:
        server.stop()


def files(runs):
    print("files: lines of text → a topic, beside FileStreamSource")
    rows = runs.args.rows
    lines = runs.folder / "lines.txt"
    with lines.open("w") as out:
        for i in range(rows):
            out.write(f"line {i} of a file that goes into a topic, with about a hundred bytes in it, as messages have {i % 977}\n")
    # The peer's topic is made by the broker, with as many.
    config = {"connector.class": "Files", "path": str(lines), "format": "text", "topic.creation.partitions": "4"}

    def ours():
        # Its progress is kept in the broker under the name.
        topic = f"lines-{os.urandom(3).hex()}"
        used = runs.levada(topic, {**config, "topic": topic})
        assert used.rows == rows
        return runs.show("levada, exactly once", rows, used)

    size = lines.stat().st_size

    def theirs():
        connect = Connect(runs.kafka, f"peer-{os.urandom(3).hex()}", {
            "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector", "file": lines,
            "topic": f"peer-{os.urandom(3).hex()}", "tasks.max": 1},
            {"value.converter": "org.apache.kafka.connect.storage.StringConverter"})
        try:
            rate, cpu, peak = connect.run(size)
            return runs.line("Connect, at least once", rate * rows / size, cpu * size / rows, peak)
        finally:
            connect.stop()

    ours()
    runs.ratio(*runs.both(ours, theirs))


def models(runs):
    print("models: JSON of 20 columns → a prediction → JSON; the share of the batches' time that scoring takes")
    rows = min(runs.args.rows, 1_000_000)
    runs.feed("scored", rows, "cars")
    numbers = ["vhcleLot", "vhcleLat", "gpsUtcTime", "vhcleDrc", "vhcleSped"]
    cases = [("a tree of depth 3", ROOT / "examples/iris/model", 4)]
    cases += [("100 trees of depth 6", ROOT / "target/bench/models/100x6/xgboost.json", 20)]
    for name, model, features in cases:
        if not model.exists():
            print(f"  {name}: no model; benches/models.py --train makes it")
            continue
        # A feature may be read several times.
        columns = ",".join(numbers[at % len(numbers)] for at in range(features))
        # A name of its own: the sink's transactions are a pipeline's.
        pipeline = f"scored-{features}"
        used = runs.levada(pipeline, {
            "source.class": "Kafka", "source.topics": "scored", "source.value.converter": "json",
            "source.value.converter.schema": CARS, "source.metadata.columns": "", "transforms": "predict",
            "transforms.predict.type": "DecisionTree", "transforms.predict.model": str(model),
            "transforms.predict.features": columns, "transforms.predict.threads": "1", "transforms.predict.drift": "true",
            "transforms.predict.handle.invalid": "keep", "sink.class": "Kafka", "sink.topic": f"s-{os.urandom(3).hex()}",
            "sink.topic.creation.partitions": "4", "sink.value.converter": "json"})
        runs.show(f"levada, {name}", rows, used)
        progress = (runs.folder / pipeline / "progress").read_text().splitlines()
        batches = [json.loads(line) for line in progress]
        scoring = sum(b["observedMetrics"]["predict"]["scoringMicros"] for b in batches if b["numInputRows"]) / 1e6
        all_of_it = sum(b["durationMs"]["triggerExecution"] for b in batches if b["numInputRows"]) / 1e3
        print(f"  scoring {scoring / rows * 1e9:.0f} ns a row, {scoring / all_of_it:.2%} of the batches' time", flush=True)


PARTS = {"models": models, "drain": drain, "json": json_converter, "postgres": postgres, "files": files}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--binary", default=str(ROOT / "target/release/levada"))
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, the faster of {args.runs}")
    runs = Runs(args)
    try:
        for part in args.parts or PARTS:
            PARTS[part](runs)
    finally:
        shutil.rmtree(runs.folder, ignore_errors=True)
        runs.kafka.stop()


if __name__ == "__main__":
    main()
