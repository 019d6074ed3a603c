"""Tree models, scored in memory on one thread, beside the libraries that trained them.

    pip install xgboost-cpu lightgbm scikit-learn skl2onnx onnxruntime lleaves 'llvmlite<0.45' tl2cgen 'treelite<4.2'
    python3 benches/models.py [--rows 1000000] [--only 100x6] [--train]

Models are trained once, from fixed seeds, below target/bench/models (`--train` stops there). Each library scores the model
that it trained; ONNX Runtime scores scikit-learn's, lleaves and tl2cgen compile LightGBM's and XGBoost's. Levada scores the
files of all of them, on the same rows, and what it predicts is compared.

- Processor time of the process, the best of several runs. Levada takes batches of 65,536 rows, as a pipeline does; the
  others get a matrix of floats in the layout they like best, also in batches of 65,536 where they are faster so.
- A library that needs long scores only the first rows, so that it is done in about `--seconds`; the ns are those of a row.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
warnings.filterwarnings("ignore")

import lightgbm as lgb
import numpy as np
import onnxruntime
import xgboost as xgb
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target/bench/models"
BATCH = 65_536
# Name: features, rows to train on, trees, leaves, depth (0: as the leaves have it).
SHAPES = {
    "iris": (4, 150, 1, 8, 3),
    "depth8": (20, 100_000, 1, 256, 8),
    "100x6": (20, 50_000, 100, 64, 6),
    "500x255": (20, 100_000, 500, 255, 0),
}
# What lleaves and tl2cgen compile. For the largest, lleaves took more than 10 GB and had not ended after 15 minutes.
COMPILED = {"iris", "depth8", "100x6"}


def train(name):
    """Trains what is not there yet. The files by library."""
    features, rows, trees, leaves, depth = SHAPES[name]
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {"xgboost": folder / "xgboost.json", "lightgbm": folder / "lightgbm.txt", "sklearn": folder / "sklearn.onnx"}
    random = np.random.default_rng(1)
    x = random.random((rows, features), dtype=np.float32)
    y = x[:, 0] * 3 + np.sin(6 * x[:, 1]) + x[:, 2] * x[:, 3] + random.normal(0, 0.3, rows)
    if not files["xgboost"].exists():
        options = {"max_depth": depth, "nthread": 2, "eta": 0.1, "min_child_weight": 0, "max_leaves": leaves}
        options |= {"tree_method": "hist", "grow_policy": "depthwise" if depth else "lossguide"}
        xgb.train(options, xgb.DMatrix(x, y), trees).save_model(files["xgboost"])
    if not files["lightgbm"].exists():
        options = {"num_leaves": leaves, "max_depth": depth or -1, "num_threads": 2, "verbose": -1, "min_data_in_leaf": 1}
        lgb.train(options, lgb.Dataset(x, y), trees).save_model(files["lightgbm"])
    pickled = folder / "sklearn.pickle"
    if not files["sklearn"].exists() or not pickled.exists():
        import joblib
        from skl2onnx import to_onnx

        if trees == 1:
            model = DecisionTreeRegressor(max_depth=depth, max_leaf_nodes=leaves, random_state=0)
        else:
            model = RandomForestRegressor(trees, max_depth=depth or None, max_leaf_nodes=leaves, random_state=0, n_jobs=2)
        model.fit(x[:20_000], y[:20_000])
        if hasattr(model, "n_jobs"):
            model.n_jobs = 1
        joblib.dump(model, pickled)
        files["sklearn"].write_bytes(to_onnx(model, x[:1]).SerializeToString())
    return files


def best(score, x, seconds):
    """The least processor time a row, in ns, and the first batch's predictions."""
    first = np.asarray(score(x[:BATCH]), dtype=np.float64).reshape(-1)
    start = time.process_time()
    score(x[:1000])
    about = (time.process_time() - start) / 1000
    rows = int(min(len(x), max(2000, seconds / 3 / max(about, 1e-9))))
    found = 1e18
    for size in {rows, min(rows, BATCH)}:
        for _ in range(3):
            start = time.process_time()
            for at in range(0, rows, size):
                score(x[at : min(rows, at + size)])
            found = min(found, (time.process_time() - start) / rows * 1e9)
    return found, first


def peers(name, files):
    """Each library's name, with what scores a matrix, and the model that it scores."""
    import joblib

    sklearn = joblib.load(FOLDER / name / "sklearn.pickle")
    yield "scikit-learn", sklearn.predict, "sklearn"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(files["sklearn"], options, providers=["CPUExecutionProvider"])
    yield "ONNX Runtime", lambda x: session.run(None, {session.get_inputs()[0].name: x})[0], "sklearn"
    booster = xgb.Booster(model_file=files["xgboost"])
    booster.set_param({"nthread": 1})
    yield "XGBoost", booster.inplace_predict, "xgboost"
    light = lgb.Booster(model_file=files["lightgbm"])
    yield "LightGBM", lambda x: light.predict(x, num_threads=1), "lightgbm"
    if name not in COMPILED:
        return
    try:
        import lleaves

        leaves = lleaves.Model(model_file=str(files["lightgbm"]))
        leaves.compile(cache=FOLDER / name / "lleaves.o")
        yield "lleaves", lambda x: leaves.predict(x, n_jobs=1), "lightgbm"
    except Exception as error:
        print(f"  lleaves does not work here: {str(error)[:100]}")
    try:
        import tl2cgen
        import treelite

        library = FOLDER / name / "tl2cgen.so"
        if not library.exists():
            model = treelite.frontend.load_xgboost_model(files["xgboost"])
            tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": 8})
        compiled = tl2cgen.Predictor(library, nthread=1)
        yield "tl2cgen (treelite)", lambda x: compiled.predict(tl2cgen.DMatrix(x)), "xgboost"
    except Exception as error:
        print(f"  tl2cgen does not work here: {str(error)[:100]}")


def levada(binary, model, columns, runs):
    predictions = FOLDER / "predictions"
    command = [binary, "--score", model, columns, predictions, str(runs)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(answer), np.fromfile(predictions, np.float64)


def benchmark():
    """The compiled benchmark of the crate."""
    import json

    command = ["cargo", "bench", "-q", "-p", "levada-transform-model", "--bench", "trees", "--no-run"]
    answer = subprocess.run([*command, "--message-format=json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = [json.loads(line).get("executable") for line in answer.stdout.splitlines()]
    return next(path for path in reversed(found) if path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=SHAPES, action="append")
    parser.add_argument("--seconds", type=float, default=6, help="about how long a library scores")
    parser.add_argument("--train", action="store_true", help="only trains and compiles")
    args = parser.parse_args()
    binary = benchmark()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.rows:,} rows; ns a row, one thread")
    for name in args.only or SHAPES:
        files = train(name)
        if args.train:
            list(peers(name, files))
            continue
        x = np.random.default_rng(2).random((args.rows, SHAPES[name][0]), dtype=np.float32)
        columns = FOLDER / "columns"
        np.ascontiguousarray(x.T).tofile(columns)
        print(name, flush=True)
        ours, predicted = {}, {}
        for library, model in files.items():
            ours[library], predicted[library] = levada(binary, model, columns, 2 if name == "500x255" else 5)
        fastest = {}
        for peer, score, model in peers(name, files):
            ns, first = best(score, x, args.seconds)
            fastest[peer] = ns
            differing = np.sum(~np.isclose(first, predicted[model][: len(first)], rtol=1e-4, atol=1e-4))
            # scikit-learn's own scores are of other precision than its ONNX file's: some rows take another way.
            if differing > len(first) * 0.001:
                sys.exit(f"{peer} predicts otherwise on {differing} of {len(first)} rows")
            print(f"  {peer:20} {ns:10.1f}   Levada on the same model {ours[model]:9.1f}   {ns / ours[model]:6.1f} x", flush=True)
        peer = min(fastest, key=fastest.get)
        print(f"  the fastest is {peer}: {fastest[peer] / max(ours.values()):.1f} to {fastest[peer] / min(ours.values()):.1f} x ours")


if __name__ == "__main__":
    main()
