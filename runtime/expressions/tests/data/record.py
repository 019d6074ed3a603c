"""Records what Apache Spark answers to the expressions of expressions.txt over the rows of spark-input.jsonl.

    pip install pyspark==4.1.4
    python record.py > spark-expressions.jsonl

A line of expressions.txt is an expression as it would stand in a select list. Each is evaluated with ANSI on and off.
When a whole column cannot be evaluated, the rows are tried one by one: `errors` gives the error condition of each row
that failed. `refused` is the condition when Spark does not accept the expression at all.
"""
import datetime
import decimal
import json
import math
import os
import pathlib
import sys

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import types as T

HERE = pathlib.Path(__file__).parent
SCHEMA = (
    "id int, s string, i int, l bigint, sh smallint, d double, f float, m decimal(10,2), b boolean, dt date, ts timestamp, "
    "arr array<int>, p struct<x:double,tags:array<string>>, mp map<string,int>, sa array<struct<n:int,t:string>>, "
    "Name string, js string"
)


def canonical(value, kind):
    if value is None:
        return None
    if isinstance(kind, (T.DoubleType, T.FloatType)):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(kind, T.DecimalType):
        return format(value, "f")
    if isinstance(kind, (T.TimestampType, T.TimestampNTZType)):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f") if isinstance(value, datetime.datetime) else str(value)
    if isinstance(kind, T.DateType):
        return value.isoformat()
    if isinstance(kind, T.BinaryType):
        return bytes(value).hex()
    if isinstance(kind, T.DayTimeIntervalType):
        return (value.days * 86400 + value.seconds) * 1000000 + value.microseconds
    if isinstance(kind, T.ArrayType):
        return [canonical(v, kind.elementType) for v in value]
    if isinstance(kind, T.MapType):
        entries = [[canonical(k, kind.keyType), canonical(v, kind.valueType)] for k, v in value.items()]
        return sorted(entries, key=lambda entry: str(entry[0]))
    if isinstance(kind, T.StructType):
        return [canonical(value[i], field.dataType) for i, field in enumerate(kind.fields)]
    return value


def condition(error):
    name = getattr(error, "getCondition", lambda: None)() or getattr(error, "getErrorClass", lambda: None)()
    return name or type(error).__name__


def record(frame, rows, text, ansi):
    answer = {"expr": text, "ansi": ansi}
    try:
        column = frame.selectExpr(text)
        field = column.schema.fields[0]
        answer["name"] = field.name
        answer["type"] = field.dataType.simpleString()
    except PySparkException as error:
        answer["refused"] = condition(error)
        return answer
    try:
        answer["values"] = [canonical(row[0], field.dataType) for row in column.collect()]
    except Exception as error:
        answer["values"], answer["errors"] = [], {}
        for number in range(rows):
            try:
                one = frame.where(f"id = {number + 1}").selectExpr(text).collect()
                answer["values"].append(canonical(one[0][0], field.dataType))
            except PySparkException as error:
                answer["values"].append(None)
                answer["errors"][str(number)] = condition(error)
            except Exception as error:
                answer["values"].append(None)
                answer["errors"][str(number)] = type(error).__name__
    return answer


def main():
    os.environ["TZ"] = "UTC"
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.driver.memory", "1g")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    # One partition, read once: NaN needs the option.
    frame = spark.read.schema(SCHEMA).option("allowNonNumericNumbers", "true").json(str(HERE / "spark-input.jsonl")).coalesce(1)
    collected = frame.collect()
    frame = spark.createDataFrame(collected, frame.schema).coalesce(1)
    rows = len(collected)
    names = sys.argv[1:] or [str(HERE / "expressions.txt")]
    for name in names:
        for line in pathlib.Path(name).read_text().splitlines():
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            for ansi in (True, False):
                spark.conf.set("spark.sql.ansi.enabled", str(ansi).lower())
                print(json.dumps(record(frame, rows, text, ansi), ensure_ascii=False), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
