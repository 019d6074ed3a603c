"""What the peer's scripts share: a session on two cores, and an end at which the JVM's use can be counted."""

import json
import sys
import time

from pyspark.sql import SparkSession


def session(scratch):
    """Spark as a user with two cores would set it: two shuffle partitions, no web server."""
    spark = (
        SparkSession.builder.master("local[2]")
        .appName("levada-bench")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.local.dir", scratch)
        .config("spark.driver.memory", "2g")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def run(spark, start, began, written=None):
    """Starts the query, waits for its end, and prints how long it and its first batch took.

    `began` is when this script began: before the JVM was there. `written` counts the rows of the result, afterwards.
    """
    before = time.monotonic()
    query = start()
    first = None
    while query.isActive:
        if first is None and query.lastProgress is not None:
            first = time.monotonic() - began
        query.awaitTermination(0.02)
    query.awaitTermination()
    seconds = time.monotonic() - before
    first = first if first is not None else time.monotonic() - began
    rows = sum(progress["numInputRows"] for progress in query.recentProgress)
    result = {"seconds": seconds, "first_commit_seconds": first, "input_rows": rows}
    if written is not None:
        result["output_rows"] = written()
    gateway = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    # Only a child that was waited for is counted in this process's use of CPU and memory.
    gateway.proc.stdin.close()
    gateway.proc.wait()
    print("RESULT " + json.dumps(result))
    sys.stdout.flush()
