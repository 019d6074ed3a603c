#!/usr/bin/env python3
"""Records what Spark gives for cases: `record.py DIR…`, each DIR with a case.json and its input; writes DIR/expected.

Needs PySpark 4.1. The format is that of README.md. `cases.py`-like lists of small cases can be written as JSON by hand.
"""
import datetime
import decimal
import json
import os
import re
import shutil
import sys
import tempfile

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

os.environ["TZ"] = "UTC"


def canonical(value):
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {str(canonical(k)): canonical(v) for k, v in sorted(value.items())}
    if hasattr(value, "asDict"):
        return {k: canonical(v) for k, v in zip(value.__fields__, value)}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    return value


def lines(rows):
    texts = [json.dumps(canonical(row), separators=(",", ":"), ensure_ascii=False) for row in rows]
    return sorted(texts, key=lambda text: text.encode())


def source(spark, case, folder, name):
    spec = case["sources"][name]
    reader = spark.readStream.format(spec["format"])
    if spec.get("schema"):
        reader = reader.schema(", ".join(f"`{n}` {t}" for n, t in spec["schema"]))
    for key, value in (spec.get("options") or {}).items():
        reader = reader.option(key, value)
    if spec.get("max_files_per_trigger"):
        reader = reader.option("maxFilesPerTrigger", spec["max_files_per_trigger"])
    path = os.path.join(folder, spec["path"])
    os.makedirs(path, exist_ok=True)
    return reader.load(path)


def stream(spark, case, folder, name):
    if name in case["sources"]:
        return source(spark, case, folder, name)
    return build(spark, case, folder, case["streams"][name])


def build(spark, case, folder, query):
    df = stream(spark, case, folder, query["from"])
    for op in query["ops"]:
        kind = op["op"]
        if kind == "filter":
            df = df.where(op["where"])
        elif kind == "select":
            df = df.selectExpr(*op["exprs"])
        elif kind == "sql":
            df.createOrReplaceTempView("input")
            df = spark.sql(op["query"])
        elif kind == "explode":
            function = "explode_outer" if op.get("outer") else "explode"
            df = df.withColumn(op["as"], F.expr(f"{function}({op['array']})"))
        elif kind == "rename":
            df = df.withColumnsRenamed(op["columns"])
        elif kind == "watermark":
            df = df.withWatermark(op["column"], op["delay"])
        elif kind == "dedup":
            drop = df.dropDuplicatesWithinWatermark if op.get("within_watermark") else df.dropDuplicates
            df = drop(op["keys"]) if op.get("keys") else drop()
        elif kind == "union":
            df = df.unionByName(stream(spark, case, folder, op["with"]))
        elif kind == "aggregate":
            keys = []
            window, session = op.get("window"), op.get("session")
            if window:
                size, slide, offset = window["size"], window.get("slide"), window.get("offset")
                keys.append(F.window(window["column"], size, slide, offset) if offset else
                            F.window(window["column"], size, slide) if slide else F.window(window["column"], size))
            if session:
                gap = F.expr(session["gap_expr"]) if session.get("gap_expr") else session["gap"]
                keys.append(F.session_window(session["column"], gap))
            keys += [F.expr(key) for key in op.get("keys") or []]
            df = df.groupBy(*keys).agg(*[F.expr(agg) for agg in op["aggs"]])
        else:
            raise ValueError(kind)
    return df


def record(spark, folder):
    case = json.load(open(os.path.join(folder, "case.json")))
    expected = os.path.join(folder, "expected")
    shutil.rmtree(expected, ignore_errors=True)
    os.makedirs(expected)
    spark.conf.set("spark.sql.ansi.enabled", str(case.get("ansi", True)).lower())
    spark.conf.set("spark.sql.streaming.multipleWatermarkPolicy", case.get("watermark_policy") or "min")
    laid = [1_700_000_000]
    failures = {int(k): v for k, v in (case.get("sink_failures") or {}).items()}
    attempts, runs = {}, []
    schema = None
    with tempfile.TemporaryDirectory() as work:
        def lay(names):
            for name in names:
                target = os.path.join(work, name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(os.path.join(folder, name), target + ".tmp")
                os.utime(target + ".tmp", (laid[0], laid[0]))
                laid[0] += 1
                hidden = os.path.join(os.path.dirname(target), "." + os.path.basename(target))
                os.rename(target + ".tmp", hidden)
                os.rename(hidden, target)
        for number, run in enumerate(case["runs"]):
            batches = []
            def sink(df, batch):
                rows = lines(df.collect())
                batches.append(batch)
                if failures.get(batch, 0) > 0:
                    failures[batch] -= 1
                    k = attempts.get(batch, 0)
                    attempts[batch] = k + 1
                    open(os.path.join(expected, f"batch-{batch}.attempt-{k}.jsonl"), "w").write("".join(r + "\n" for r in rows))
                    raise RuntimeError(f"sink refused batch {batch}")
                open(os.path.join(expected, f"batch-{batch}.jsonl"), "w").write("".join(r + "\n" for r in rows))
            error, query, phase = None, None, "start"
            try:
                if run["drive"] == "available-now":
                    lay(run.get("files") or [])
                df = build(spark, case, work, run.get("query") or case["query"])
                schema = [[f.name, f.dataType.simpleString()] for f in df.schema.fields]
                writer = df.writeStream.outputMode(case["output_mode"]).option("checkpointLocation", work + "/checkpoint").foreachBatch(sink)
                if run["drive"] == "available-now":
                    query = writer.trigger(availableNow=True).start()
                    phase = "run"
                    query.awaitTermination()
                else:
                    query = writer.trigger(processingTime="0 seconds").start()
                    phase = "run"
                    # What the run before has left is done first.
                    query.processAllAvailable()
                    for step in run["steps"]:
                        lay(step)
                        query.processAllAvailable()
                    query.stop()
            except Exception as e:
                text = str(e)
                condition = re.search(r"\[([A-Z0-9_.]+)\]", text.replace("[STREAM_FAILED]", ""))
                batch = None
                if phase == "run":
                    log = os.path.join(work, "checkpoint", "offsets")
                    batch = max([int(n) for n in os.listdir(log) if n.isdigit()], default=0) if os.path.isdir(log) else 0
                error = {"phase": phase, "batch": batch, "condition": condition.group(1) if condition else None, "message": text[:300]}
                if query is not None:
                    query.stop()
            runs.append({"run": number, "drive": run["drive"], "batches": batches, "error": error})
    open(os.path.join(expected, "runs.jsonl"), "w").write("".join(json.dumps(r) + "\n" for r in runs))
    if schema is not None and any(run["batches"] for run in runs):
        json.dump(schema, open(os.path.join(expected, "schema.json"), "w"))
    print("recorded", folder, [r["batches"] for r in runs], [r["error"] and (r["error"]["phase"], r["error"]["batch"], r["error"]["condition"]) for r in runs], flush=True)


def main():
    spark = (SparkSession.builder.master("local[2]").config("spark.sql.shuffle.partitions", 2)
             .config("spark.sql.session.timeZone", "UTC").config("spark.ui.enabled", "false")
             .config("spark.log.level", "OFF").getOrCreate())
    for folder in sys.argv[1:]:
        record(spark, folder)


if __name__ == "__main__":
    main()
