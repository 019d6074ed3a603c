"""A throwaway broker and Kafka Connect in standalone mode, for kafka.py. Standard library only."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
LOG = ROOT / "tests/services/kafka/log4j2.xml"


def jars(script, folder):
    subprocess.run([ROOT / script, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def cpu_and_peak(pid):
    """Seconds of processor time of a process so far, and its memory at the peak in MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    return (int(fields[11]) + int(fields[12])) / TICKS, peak


class Kafka:
    """A broker with a folder of its own."""

    def __init__(self):
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "levada/kafka-4.3.1"
        libs = jars("tests/services/kafka/fetch.sh", cache)
        self.folder = Path(tempfile.mkdtemp(prefix="levada-bench-kafka-"))
        port, controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "logs",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 5,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 5,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "num.partitions": 4,
        }
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        java = ["java", "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={LOG}", "-cp", f"{libs}/*"]
        identity = ["--cluster-id", "bGV2YWRhLWJlbmNoLTAwMA"]
        format_ = [*java, "kafka.tools.StorageTool", "format", *identity, "--config", properties]
        subprocess.run(format_, check=True, stdout=subprocess.DEVNULL)
        log = self.folder / "broker.log"
        self.process = subprocess.Popen([*java, "kafka.Kafka", properties], stdout=log.open("wb"), stderr=subprocess.STDOUT)
        while "Kafka Server started" not in log.read_text(errors="replace"):
            if self.process.poll() is not None:
                sys.exit(log.read_text(errors="replace"))
            time.sleep(0.1)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Connect:
    """A standalone worker with one connector, from its start to the moment at which it has done `goal`."""

    def __init__(self, kafka, name, connector, worker=None):
        folder = jars("benches/connect/fetch.sh", ROOT / "target/bench/connect")
        (port,) = free_ports(1)
        self.rest, self.name = f"http://127.0.0.1:{port}", name
        self.folder = Path(tempfile.mkdtemp(prefix="levada-bench-connect-"))
        settings = {
            "bootstrap.servers": kafka.bootstrap,
            "listeners": self.rest,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "offset.storage.file.filename": self.folder / "offsets",
            "offset.flush.interval.ms": 500,
            "plugin.path": folder / "plugins",
            "plugin.discovery": "service_load",
            **(worker or {}),
        }
        files = []
        for stem, content in (("worker", settings), ("connector", {"name": name, "tasks.max": 4, **connector})):
            files.append(self.folder / f"{stem}.properties")
            files[-1].write_text("".join(f"{key}={value}\n" for key, value in content.items()))
        command = ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={LOG}", "-cp",
                   f"{folder}/libs/*", "org.apache.kafka.connect.cli.ConnectStandalone", *files]
        self.log = self.folder / "connect.log"
        self.process = subprocess.Popen(command, stdout=self.log.open("wb"), stderr=subprocess.STDOUT)

    def position(self):
        """How far the connector has come, as it has committed: messages, or bytes of a file."""
        try:
            with urllib.request.urlopen(f"{self.rest}/connectors/{self.name}/offsets", timeout=5) as answer:
                offsets = json.load(answer)["offsets"]
        except OSError:
            return 0
        each = [one["offset"] for one in offsets]
        return sum(one.get("kafka_offset", one.get("position", 0)) for one in each if one)

    def run(self, goal, patience=600):
        """Units a second, CPU seconds and peak memory between the first commit and the last: the start is left out."""
        first, since = None, time.monotonic()
        while True:
            if self.process.poll() is not None or time.monotonic() - since > patience:
                sys.exit(self.log.read_text(errors="replace")[-5000:])
            now, at = self.position(), time.monotonic()
            if now:
                cpu, peak = cpu_and_peak(self.process.pid)
                if first is None:
                    first = (now, at, cpu)
                if now >= goal:
                    # All at once says nothing about the rate.
                    units, seconds, cpu = (now - first[0], at - first[1], cpu - first[2])
                    return (units / seconds if seconds else float("nan")), cpu / max(units, 1), peak
            time.sleep(0.1)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
