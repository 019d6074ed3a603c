"""Loads PipelineModels with real Spark and predicts: `spark.py ROWS.csv MODEL…`; prints JSON, a line a row and model.

Numbers are text, which has every bit of them for whoever parses it.
"""
import json
import sys

from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
rows = spark.read.csv(sys.argv[1], schema="_c0 DOUBLE, _c1 DOUBLE, _c2 DOUBLE, _c3 DOUBLE, _c4 STRING")
for number, model in enumerate(sys.argv[2:]):
    for row in PipelineModel.load(model).transform(rows.coalesce(1)).collect():
        answer = {"model": number, "prediction": repr(row.prediction)}
        if "rawPrediction" in row:
            answer |= {"raw": [repr(float(x)) for x in row.rawPrediction], "label": row.predicted__c4}
            answer |= {"probability": [repr(float(x)) for x in row.probability]}
        print(json.dumps(answer))
