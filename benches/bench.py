"""Benchmarks of Levada, with the peer on the same input in the same run.

See README.md beside this file. Standard library only; the peer's scripts need pyspark (setup.sh).
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import inputs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MB, GB = 1_000_000, 1_000_000_000


class Used:
    """What a process took: seconds on the clock and of CPU, memory at its peak, and what it printed."""

    def __init__(self, command, cores=None):
        if cores:
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        before = time.monotonic()
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            # Files, not pipes: nobody has to read along, and wait4 tells the use of exactly this process.
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.monotonic() - before
            out, err = (file.seek(0) or file.read() for file in (stdout, stderr))
        process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak_mb = usage.ru_maxrss * 1024 / MB
        self.out = out.decode(errors="replace")
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}\n{self.out}{err.decode()}")


class Bench:
    """The parameters of a run, and a place for its files."""

    def __init__(self, args):
        self.args = args
        self.data = Path(args.data)
        self.work = self.data / "work"
        self.data.mkdir(parents=True, exist_ok=True)

    def scaled(self, number):
        return max(1, int(number * self.args.scale))

    def fresh(self, name):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def levada(self, name, config, cores=None):
        """Runs a pipeline from nothing to its end, on these cores."""
        folder = self.fresh(f"levada-{name}")
        config = {
            "name": name,
            "trigger": "available-now",
            "checkpoint.location": str(folder / "checkpoint"),
            "errors.deadletterqueue.path": str(folder / "dead"),
            **{key: value.replace("{work}", str(folder)) for key, value in config.items()},
        }
        (folder / "pipeline.json").write_text(json.dumps(config, indent=2))
        progress = folder / "progress.jsonl"
        used = Used([self.args.binary, "run", "--progress", str(progress), str(folder / "pipeline.json")], cores)
        batches = [json.loads(line) for line in progress.read_text().splitlines()]
        used.folder, used.progress = folder, batches
        used.rows = sum(batch["numInputRows"] for batch in batches)
        used.written = sum(batch["sink"]["numOutputRows"] for batch in batches)
        return used

    def peer(self, script, *args):
        """Runs a script of the peer's; its own clock, which leaves out the JVM's start, comes in `query_seconds`."""
        scratch = self.fresh(f"spark-{Path(script).stem}")
        venv = Path(os.environ.get("BENCH_VENV", ROOT / "target/bench/venv"))
        used = Used([venv / "bin/python", HERE / script, args[0], scratch, *args[1:]])
        result = json.loads(next(line for line in used.out.splitlines() if line.startswith("RESULT "))[7:])
        used.query_seconds, used.first = result["seconds"], result["first_commit_seconds"]
        used.rows, used.written = result["input_rows"], result.get("output_rows")
        return used

    def median(self, run):
        """The run of median duration."""
        return middle([run() for _ in range(self.args.runs)])


def middle(runs):
    """The run of median duration."""
    return sorted(runs, key=lambda used: used.seconds)[len(runs) // 2]


def show(what, unit, count, used, seconds=None):
    seconds = used.seconds if seconds is None else seconds
    print(
        f"  {what:8} {count / seconds:14,.0f} {unit}/s  {seconds:8.2f} s  {used.cpu:8.2f} CPU s  "
        f"{used.peak_mb:7.0f} MB peak",
        flush=True,
    )
    return count / seconds


def compare(bench, unit, count, run, script, *args, kept=None):
    """Levada's whole process against the peer's query alone, its start left out: the peer's better half.

    Both must have read `count` rows, or written `kept`: the peer does not count rows that it filters while it parses. As
    many of Levada's runs come before the peer's as behind it: a machine's speed may change within a minute.
    """
    runs = [run() for _ in range(bench.args.runs)]
    peer = bench.peer(script, *args) if bench.args.peer else None
    if peer:
        runs += [run() for _ in range(bench.args.runs)]
    used = middle(runs)
    check("levada", used, count, kept)
    ours = show("levada", unit, count, used)
    if peer:
        check("the peer", peer, count, kept)
        theirs = show("spark", unit, count, peer, peer.query_seconds)
        print(f"  ratio    {ours / theirs:14.1f} x; CPU {peer.cpu / used.cpu:.1f} x; memory {peer.peak_mb / used.peak_mb:.1f} x")


def check(who, used, count, kept):
    """Ends with an error if somebody has not done the work."""
    what, found, wanted = ("read", used.rows, count) if kept is None else ("wrote", used.written, kept)
    if found != wanted:
        sys.exit(f"{who} {what} {found} rows, not {wanted}")


def word_count_config(folder):
    return {
        "source.class": "Files",
        "source.path": str(folder),
        "source.format": "text",
        "transforms": "count",
        "transforms.count.type": "WordCount",
        "output.mode": "complete",
        # The peer has no limit either: all words are given out at the end of each micro-batch.
        "batch.max.bytes": "256 MB",
        "sink.class": "Null",
    }


def word_count(bench):
    """Word count of 200 MB."""
    folder, said = inputs.text(bench.data, bench.scaled(200 * MB))
    print(f"word count: {said['bytes'] / MB:,.0f} MB, {said['lines']:,} lines")
    run = lambda: bench.levada("word-count", word_count_config(folder))  # noqa: E731
    compare(bench, "lines", said["lines"], run, "spark_word_count.py", folder)


def json_parquet_config(folder):
    return {
        "source.class": "Files",
        "source.path": str(folder),
        "source.format": "json",
        "source.schema": inputs.JSON_SCHEMA,
        "transforms": "filter",
        "transforms.filter.type": "Filter",
        "transforms.filter.condition": inputs.JSON_FILTER,
        "sink.class": "Files",
        "sink.path": "{work}/out",
        "sink.format": "parquet",
    }


def json_parquet(bench):
    """JSON lines, filtered, into Parquet: 5 M rows."""
    folder, said = inputs.json_rows(bench.data, bench.scaled(5_000_000))
    print(f"JSON lines -> filter -> Parquet: {said['lines']:,} rows, {said['bytes'] / MB:,.0f} MB")
    run = lambda: bench.levada("json-parquet", json_parquet_config(folder))  # noqa: E731
    script = "spark_json_filter_parquet.py"
    compare(bench, "rows", said["lines"], run, script, folder, inputs.JSON_SCHEMA, inputs.JSON_FILTER, kept=said["kept"])


SHAPES = {
    "tumbling": {"window": "20 seconds"},
    "sliding": {"window": "20 seconds", "slide": "2 seconds"},
    "session": {"session.gap": "5 seconds"},
}


def windows_config(folder, shape, **more):
    return {
        "source.class": "Files",
        "source.path": str(folder),
        "source.format": "json",
        "source.schema": inputs.EVENTS_SCHEMA,
        "transforms": "count",
        "transforms.count.type": "WindowedAggregate",
        "transforms.count.time": "ts",
        "transforms.count.watermark": "30 seconds",
        "transforms.count.group.by": "key",
        "transforms.count.aggregates": "count(*) AS n, sum(value) AS s, avg(value) AS a",
        **{f"transforms.count.{key}": value for key, value in {**SHAPES[shape], **more}.items()},
        "sink.class": "Files",
        "sink.path": "{work}/out",
        "sink.format": "parquet",
    }


def windows(bench):
    """Windows of event time by 1,000 keys, closed into Parquet: 5 M JSON rows."""
    folder, said = inputs.events(bench.data, bench.scaled(5_000_000))
    for shape in SHAPES:
        print(f"{shape} windows -> Parquet: {said['lines']:,} JSON rows, {said['bytes'] / MB:,.0f} MB")
        run = lambda: bench.levada(shape, windows_config(folder, shape))  # noqa: B023, E731
        compare(bench, "rows", said["lines"], run, "spark_windows.py", folder, inputs.EVENTS_SCHEMA, shape)


def cores(bench):
    """The same on one core and on two, in turns, and two processes at once with a core each: what the machine can give.

    Long enough that the start and the last micro-batch, which nothing follows, count little.
    """
    if len(os.sched_getaffinity(0)) < 2:
        print("cores: there is only one")
        return
    one, other = sorted(os.sched_getaffinity(0))[:2]
    text, text_said = inputs.text(bench.data, bench.scaled(800 * MB))
    rows, rows_said = inputs.json_rows(bench.data, bench.scaled(20_000_000))
    events, events_said = inputs.events(bench.data, bench.scaled(20_000_000))
    work = {
        "word-count": (word_count_config(text), text_said["lines"]),
        "json-parquet": (json_parquet_config(rows), rows_said["lines"]),
        **{shape: (windows_config(events, shape), events_said["lines"]) for shape in SHAPES},
    }
    print(f"two cores beside one: medians of {2 * bench.args.runs + 1} in turns")
    for name, (config, count) in work.items():
        seconds = {"one": [], "two": [], "both": []}
        for _ in range(2 * bench.args.runs + 1):
            for which, at in (("one", [one]), ("two", [one, other])):
                used = bench.levada(name, config, at)
                check("levada", used, count, None)
                seconds[which].append(used.seconds)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                both = [pool.submit(bench.levada, f"{name}-{at}", config, [at]) for at in (one, other)]
                seconds["both"].append(max(used.result().seconds for used in both))
        one_core, two_cores, both = (statistics.median(seconds[which]) for which in ("one", "two", "both"))
        print(
            f"  {name:13} one core {one_core:7.3f} s, two {two_cores:7.3f} s: {one_core / two_cores:5.2f} x; two processes, "
            f"a core each: {2 * one_core / both:5.2f} x",
            flush=True,
        )


def keys(bench):
    """A state of 10 M keys, and what a small batch costs beside it."""
    count = bench.scaled(10_000_000)
    folder, said = inputs.keys(bench.data, count)
    print(f"count and sum by {count:,} keys, update mode; then {said['more']:,} rows more after a restart")
    config = {
        "source.class": "Files",
        "source.path": str(folder),
        "source.format": "json",
        "source.schema": "k BIGINT, v INT",
        "source.max.files.per.trigger": "1",
        "transforms": "count",
        "transforms.count.type": "WindowedAggregate",
        "transforms.count.group.by": "k",
        "transforms.count.aggregates": "count(*) AS n, sum(v) AS s",
        "output.mode": "update",
        "sink.class": "Null",
    }
    used = bench.levada("keys", config)
    check("levada", used, count + said["more"], None)
    show("levada", "rows", count + said["more"], used)
    for line in used.progress:
        held, took = line["stateOperators"][0], line["durationMs"]
        print(
            f"  batch {line['batchId']}: {line['numInputRows']:10,} rows, {line['batchDuration']:6,} ms, of which the checkpoint "
            f"{took['walCommit'] + took['commitOffsets']:,} ms; {held['memoryUsedBytes'] / MB:,.0f} MB of state"
        )


def first_commit(bench):
    """From the start of the process to its first committed batch: a process that commits one batch and ends."""
    folder, _ = inputs.text(bench.data, 10_000)
    print("start to first commit, end of the process included")
    runs = [bench.levada("first-commit", word_count_config(folder)) for _ in range(11)]
    times = sorted(used.seconds * 1000 for used in runs)
    peak = max(used.peak_mb for used in runs)
    print(f"  levada   {statistics.median(times):10.1f} ms (of 11: {times[0]:.1f} to {times[-1]:.1f})  {peak:.0f} MB peak")
    if bench.args.peer:
        peer = bench.peer("spark_word_count.py", folder)
        print(f"  spark    {peer.first * 1000:10.1f} ms  {peer.peak_mb:.0f} MB peak")


def empty_batch(bench):
    """A micro-batch without rows, with its durable checkpoint: the slope between few and many of them."""
    print("an empty micro-batch with its durable checkpoint")
    seconds = {}
    many = bench.scaled(2000) + 10
    for count in (10, many):
        folder, _ = inputs.empty_files(bench.data, count)
        config = {**word_count_config(folder), "source.max.files.per.trigger": "1"}
        used = bench.median(lambda: bench.levada("empty", config))
        seconds[count] = used.seconds
        show_checkpoint(bench, used, count)
    each = (seconds[many] - seconds[10]) / (many - 10)
    print(f"  levada   {each * 1000:10.3f} ms each, {many - 10} batches")


def show_checkpoint(bench, used, count):
    """Makes sure that there were as many batches as files."""
    location = used.folder / "checkpoint" / "tasks" / "0"
    shown = Used([bench.args.binary, "checkpoint", "show", str(location)]).out
    if str(count - 1) not in shown:
        sys.exit(f"the checkpoint does not hold batch {count - 1}:\n{shown}")


def flatness(bench):
    """The cost of a line, and the peak of memory, from 10 MB to 10 GB."""
    unit = bench.scaled(200 * MB)
    sizes = [10 * MB, 100 * MB, GB] + ([10 * GB] if bench.args.long else [])
    print("cost of a line by size of the input (word count)" + ("" if bench.args.long else "; 10 GB with --long"))
    for size in (bench.scaled(size) for size in sizes):
        folder, said = inputs.repeated_text(bench.data, size, unit)
        show_cost(said, bench.median(lambda: bench.levada("flatness", word_count_config(folder))))


def vocabulary(bench):
    """The cost of a line with ten times as many words: the state outgrows the caches."""
    print("cost of a line by the number of words (word count)")
    for words in (100_000, 1_000_000):
        folder, said = inputs.text(bench.data, bench.scaled(200 * MB), words)
        used = bench.median(lambda: bench.levada("vocabulary", word_count_config(folder)))
        show_cost(said, used, f"  {used.written:10,} counts")


def show_cost(said, used, more=""):
    """One line of a table of costs."""
    check("levada", used, said["lines"], None)
    print(
        f"  {said['bytes'] / MB:8,.0f} MB  {used.seconds / said['lines'] * 1e9:8.1f} ns a line  "
        f"{used.cpu / said['lines'] * 1e9:8.1f} CPU ns a line  {used.peak_mb:6.0f} MB peak{more}",
        flush=True,
    )


BENCHES = {
    "word-count": word_count,
    "json-parquet": json_parquet,
    "windows": windows,
    "cores": cores,
    "keys": keys,
    "first-commit": first_commit,
    "empty-batch": empty_batch,
    "flatness": flatness,
    "vocabulary": vocabulary,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="store_true", help="run the peer's scripts, too (setup.sh makes their environment)")
    parser.add_argument("--long", action="store_true", help="flatness up to 10 GB")
    parser.add_argument("--scale", type=float, default=1.0, help="a factor for all sizes (0.01 for a quick look)")
    parser.add_argument("--runs", type=int, default=3, help="Levada's runs, of which the median counts")
    parser.add_argument("--only", choices=BENCHES, action="append", help="this benchmark alone; may be repeated")
    parser.add_argument("--binary", default=str(ROOT / "target/release/levada"))
    parser.add_argument("--data", default=str(ROOT / "target/bench"), help="the folder for inputs and outputs")
    bench = Bench(parser.parse_args())
    free = shutil.disk_usage(bench.data).free
    if free < 2.5 * GB * bench.args.scale:
        bench.args.scale = free / (2.5 * GB) / 2
        print(f"only {free / GB:.1f} GB are free: sizes are scaled by {bench.args.scale:.3f}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, scale {bench.args.scale:g}, median of {bench.args.runs}")
    try:
        for name in bench.args.only or BENCHES:
            BENCHES[name](bench)
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)


if __name__ == "__main__":
    main()
