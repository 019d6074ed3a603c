"""Records what Spark makes of options.csv under options of its CSV source: record.py > options.jsonl (with pyspark 4.1)."""

import json
from pathlib import Path

from pyspark.sql import SparkSession

CSV = str(Path(__file__).with_name("options.csv"))
SCHEMA = "id INT, name STRING, note STRING, amount DOUBLE, at TIMESTAMP"
CORRUPT = f"{SCHEMA}, _corrupt_record STRING"
BASE = {"header": "true", "comment": "#"}
CASES = [
    (CORRUPT, {}),
    (CORRUPT, {"header": "true"}),
    (CORRUPT, BASE),
    (CORRUPT, {**BASE, "mode": "DROPMALFORMED"}),
    (SCHEMA, {**BASE, "mode": "DROPMALFORMED"}),
    (SCHEMA, {**BASE, "mode": "PERMISSIVE"}),
    (CORRUPT, {**BASE, "nullValue": "NA"}),
    (CORRUPT, {**BASE, "emptyValue": "EMPTY"}),
    (CORRUPT, {**BASE, "nullValue": "-", "emptyValue": "-"}),
    (CORRUPT, {**BASE, "nanValue": "abc", "positiveInf": "2", "negativeInf": "Inf"}),
    (CORRUPT, {**BASE, "ignoreLeadingWhiteSpace": "true"}),
    (CORRUPT, {**BASE, "ignoreTrailingWhiteSpace": "true"}),
    (CORRUPT, {**BASE, "ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true", "quote": "'"}),
    (CORRUPT, {**BASE, "escape": "\""}),
    (CORRUPT, {**BASE, "quote": "'", "escape": "'"}),
    (f"{SCHEMA}, bad STRING", {**BASE, "columnNameOfCorruptRecord": "bad"}),
    (CORRUPT, {"sep": " ", "comment": "#"}),
]

spark = SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
for schema, options in CASES:
    # Cached: Spark refuses to read the text of malformed lines alone.
    rows = spark.read.schema(schema).options(**options).csv(CSV).cache()
    rows = rows.selectExpr(*(f"cast({name} as string) {name}" for name in rows.columns))
    case = {"schema": schema, "options": options, "rows": [list(row) for row in rows.collect()]}
    print(json.dumps(case, ensure_ascii=False))
for options in [BASE, {**BASE, "inferSchema": "true"}, {"inferSchema": "true", "header": "true"}, {"comment": "#"}]:
    schema = spark.read.options(**options).csv(CSV).schema
    print(json.dumps({"options": options, "columns": [f"{f.name} {f.dataType.simpleString()}" for f in schema.fields]}))
