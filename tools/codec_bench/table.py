#!/usr/bin/env python3
"""table.py CODEC_BENCH RESULTS.json FILE...: the table of docs/RESULTS.md, zpaq -m5 on whole files beside range and mix.

Bytes of all frames as codec_bench counts them (an archive of one file adds its index, about 1.5 KB); chunks of several sizes and
the whole file as one chunk. What RESULTS.json holds already is not measured again; without files, what it holds is shown. Needs zpaq.
"""
import json
import math
import os
import re
import subprocess
import sys
import tempfile

COLUMNS = [("zpaq -m5", None), ("mix whole", ("mix", 1 << 30)), ("range 64K", ("range", 65536)), ("mix 64K", ("mix", 65536)),
           ("mix 16K", ("mix", 16384)), ("mix 1M", ("mix", 1 << 20))]
SHOWN = ["zpaq -m5", "range 64K", "mix 16K", "mix 64K", "mix 1M", "mix whole"]


def zpaq(path):
    with tempfile.TemporaryDirectory() as folder:
        archive = os.path.join(folder, "x.zpaq")
        subprocess.run(["zpaq", "add", archive, path, "-m5", "-t1"], check=True, capture_output=True)
        return os.path.getsize(archive)


def frames(bench, path, codec, chunk):
    out = subprocess.run([bench, path, "--codec", codec, "--chunk", str(chunk), "--carry", "256", "--no-decode"], check=True,
                         capture_output=True, text=True).stdout
    return int(re.search(r"-> (\d+) bytes", out).group(1))


def main(bench, results, *paths):
    done = json.load(open(results)) if os.path.exists(results) else {}
    for name, how in COLUMNS:
        for path in paths:
            row = done.setdefault(os.path.basename(path), {"size": os.path.getsize(path)})
            if name in row:
                continue
            if how and how[1] >= row["size"] and how[0] == "mix" and "mix whole" in row:
                row[name] = row["mix whole"]  # one chunk too
            else:
                row[name] = frames(bench, path, *how) if how else zpaq(path)
            with open(results, "w") as out:
                json.dump(done, out, indent=1)
    show(done)


def show(done):
    shown = [c for c in SHOWN if all(c in row for row in done.values())]
    print("| text | bytes | " + " | ".join(shown) + " | whole / zpaq |")
    print("|---|---:" + "|---:" * (len(shown) + 1) + "|")
    logs = []
    for name, row in sorted(done.items()):
        ratio = row["mix whole"] / row["zpaq -m5"]
        logs.append(math.log(ratio))
        print("| %s | %s | %s | %.3f |" % (name, format(row["size"], ","),
                                           " | ".join("%.3f" % (8 * row[c] / row["size"]) for c in shown), ratio))
    print("| mean of the ratios | | " + " | " * len(shown) + "%.3f |" % math.exp(sum(logs) / len(logs)))


if __name__ == "__main__":
    main(*sys.argv[1:])
