"""The peer's word count: spark_word_count.py INPUT SCRATCH"""

import sys
import time

BEGAN = time.monotonic()

from pyspark.sql.functions import col, explode, split  # noqa: E402
from spark_common import run, session  # noqa: E402

source, scratch = sys.argv[1:3]
spark = session(scratch)
words = spark.readStream.text(source).select(explode(split(col("value"), " ")).alias("word"))
counts = words.groupBy("word").count()
writer = (
    counts.writeStream.outputMode("complete")
    .format("noop")
    .option("checkpointLocation", f"{scratch}/checkpoint")
    .trigger(availableNow=True)
)
run(spark, writer.start, BEGAN)
