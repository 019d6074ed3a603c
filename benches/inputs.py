"""Inputs for the benchmarks: seeded, made once, kept in a folder.

An input is made under a name of its own and renamed when it is whole, so that an interrupted run leaves nothing that
looks finished.
"""

import itertools
import json
import os
import random
import shutil
from pathlib import Path

WORDS = 100_000
WORDS_A_LINE = 10
FILE_BYTES = 20_000_000
FILE_ROWS = 500_000
JSON_SCHEMA = "id BIGINT, user STRING, age INT, country STRING, amount DOUBLE, active BOOLEAN"
JSON_FILTER = "age >= 18 AND active"


def make(root, name, fill):
    """The folder `root/name`, filled by `fill(folder)` if it is not there. Returns it with what `fill` said of it."""
    folder, said = Path(root) / name, Path(root) / f"{name}.json"
    if not said.exists():
        print(f"making {folder} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        said.with_suffix(".part").write_text(json.dumps(fill(folder)))
        said.with_suffix(".part").rename(said)
    return folder, json.loads(said.read_text())


def vocabulary(rng, count):
    """Distinct lower-case words; frequent ones are short, as in a language."""
    words, seen = [], set()
    while len(words) < count:
        length = 2 + len(words).bit_length() // 3 + rng.randrange(4)
        word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=length))
        if word not in seen:
            seen.add(word)
            words.append(word)
    return words


def text(root, size, count=WORDS):
    """Text of `size` bytes: lines of ten words, Zipf-distributed over `count`."""

    def fill(folder):
        rng = random.Random(1)
        words = vocabulary(rng, count)
        weights = list(itertools.accumulate(1 / rank for rank in range(1, count + 1)))
        lines = written = number = 0
        while written < size:
            limit = min(FILE_BYTES, size - written)
            in_file = 0
            with open(folder / f"{number:05}.txt", "w", encoding="ascii", newline="\n") as out:
                while in_file < limit:
                    drawn = rng.choices(words, cum_weights=weights, k=10_000)
                    for at in range(0, len(drawn), WORDS_A_LINE):
                        line = " ".join(drawn[at : at + WORDS_A_LINE]) + "\n"
                        out.write(line)
                        in_file += len(line)
                        lines += 1
                        if in_file >= limit:
                            break
            written += in_file
            number += 1
        return {"lines": lines, "bytes": written}

    return make(root, f"text-{size}" if count == WORDS else f"text-{size}-words-{count}", fill)


def repeated_text(root, size, unit):
    """Text of about `size` bytes out of hard links to the files of `text(unit)`: it takes no room on the disk."""
    if size <= unit:
        return text(root, size)
    source, said = text(root, unit)
    times = round(size / unit)

    def fill(folder):
        for turn in range(times):
            for path in sorted(source.iterdir()):
                os.link(path, folder / f"{turn:05}-{path.name}")
        return {"lines": said["lines"] * times, "bytes": said["bytes"] * times}

    return make(root, f"text-{size}-linked", fill)


def json_rows(root, rows):
    """JSON lines with six fields, of which the filter keeps about four in ten."""

    def fill(folder):
        rng = random.Random(2)
        countries = ["PT", "ES", "FR", "DE", "KR", "US", "BR", "JP"]
        size = kept = 0
        for first in range(0, rows, FILE_ROWS):
            with open(folder / f"{first // FILE_ROWS:05}.jsonl", "w", encoding="ascii", newline="\n") as out:
                for row in range(first, min(rows, first + FILE_ROWS)):
                    active = "true" if rng.random() < 0.5 else "false"
                    user, age = rng.randrange(1_000_000), rng.randrange(100)
                    kept += age >= 18 and active == "true"
                    size += out.write(
                        f'{{"id":{row},"user":"user-{user}","age":{age},'
                        f'"country":"{countries[rng.randrange(8)]}","amount":{rng.randrange(10_000_000) / 100},'
                        f'"active":{active}}}\n'
                    )
        return {"lines": rows, "bytes": size, "kept": kept}

    return make(root, f"json-{rows}-rows", fill)


EVENTS_SCHEMA = "ts TIMESTAMP, key STRING, value INT"


def events(root, rows):
    """JSON lines of 63 bytes with event times in order, 1,000 a second, of 1,000 keys."""

    def fill(folder):
        rng = random.Random(3)
        size = 0
        for first in range(0, rows, FILE_ROWS):
            with open(folder / f"{first // FILE_ROWS:05}.jsonl", "w", encoding="ascii", newline="\n") as out:
                for row in range(first, min(rows, first + FILE_ROWS)):
                    at = row // 1000
                    time = f"2024-01-{1 + at // 86400:02}T{at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02}.{row % 1000:03}Z"
                    size += out.write(f'{{"ts":"{time}","key":"key-{rng.randrange(1000)}","value":{rng.randrange(1000)}}}\n')
        return {"lines": rows, "bytes": size}

    return make(root, f"events-{rows}-rows", fill)


def keys(root, rows):
    """JSON lines, each of another key; and a second file of a thousandth as many rows, of keys that the first has."""

    def fill(folder):
        more = max(1, rows // 1000)
        for name, count in (("0.jsonl", rows), ("1.jsonl", more)):
            with open(folder / name, "w", encoding="ascii", newline="\n") as out:
                for row in range(count):
                    out.write(f'{{"k":{row * 7919 % 1_000_000_007},"v":{row % 100}}}\n')
            os.utime(folder / name, (1_700_000_000 + int(name[0]),) * 2)
        return {"lines": rows, "more": more}

    return make(root, f"keys-{rows}", fill)


def empty_files(root, count):
    """Files without a byte: each is a micro-batch without rows."""

    def fill(folder):
        for number in range(count):
            (folder / f"{number:06}.txt").touch()
        return {"lines": 0, "bytes": 0}

    return make(root, f"empty-{count}", fill)
