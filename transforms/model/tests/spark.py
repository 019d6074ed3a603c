"""Loads a PipelineModel with real Spark and predicts: `spark.py MODEL ROWS.csv`; prints JSON, a line a row."""
import json
import sys

from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
rows = spark.read.csv(sys.argv[2], schema="_c0 DOUBLE, _c1 DOUBLE, _c2 DOUBLE, _c3 DOUBLE, _c4 STRING")
for row in PipelineModel.load(sys.argv[1]).transform(rows.coalesce(1)).collect():
    numbers = {"prediction": row.prediction, "raw": list(row.rawPrediction), "probability": list(row.probability)}
    print(json.dumps({**numbers, "label": row.predicted__c4}))
