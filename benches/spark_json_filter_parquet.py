"""The peer's JSON lines to Parquet: spark_json_filter_parquet.py INPUT SCRATCH SCHEMA CONDITION"""

import sys
import time

BEGAN = time.monotonic()

from spark_common import run, session  # noqa: E402

source, scratch, schema, condition = sys.argv[1:5]
spark = session(scratch)
writer = (
    spark.readStream.schema(schema)
    .json(source)
    .filter(condition)
    .writeStream.outputMode("append")
    .format("parquet")
    .option("path", f"{scratch}/out")
    .option("checkpointLocation", f"{scratch}/checkpoint")
    .trigger(availableNow=True)
)
run(spark, writer.start, BEGAN, lambda: spark.read.parquet(f"{scratch}/out").count())
