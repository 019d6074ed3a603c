"""The peer's windows to Parquet: spark_windows.py INPUT SCRATCH SCHEMA SHAPE, where SHAPE is tumbling, sliding or session"""

import sys
import time

BEGAN = time.monotonic()

from pyspark.sql import functions as F  # noqa: E402

from spark_common import run, session  # noqa: E402

source, scratch, schema, shape = sys.argv[1:5]
spark = session(scratch)
window = {
    "tumbling": lambda: F.window("ts", "20 seconds"),
    "sliding": lambda: F.window("ts", "20 seconds", "2 seconds"),
    "session": lambda: F.session_window("ts", "5 seconds"),
}[shape]()
writer = (
    spark.readStream.schema(schema)
    .json(source)
    .withWatermark("ts", "30 seconds")
    .groupBy(window, "key")
    .agg(F.expr("count(*) AS n"), F.expr("sum(value) AS s"), F.expr("avg(value) AS a"))
    .writeStream.outputMode("append")
    .format("parquet")
    .option("path", f"{scratch}/out")
    .option("checkpointLocation", f"{scratch}/checkpoint")
    .trigger(availableNow=True)
)
run(spark, writer.start, BEGAN)
