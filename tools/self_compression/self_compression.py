#!/usr/bin/env python3
"""Models write text themselves, which is then archived with the same and with the other models (arXiv:2505.06297).

    self_compression.py --out DIR --model e0= --model smollm2=FILE [--temperatures 0.3,0.7,1.0] [--bytes 8192]

A model is LABEL=FILE, the embedded one LABEL=. For each model and temperature all prompts' texts become one archive; it is extracted by
another number of ranks and compared. Prints a table of ratios (plain bytes / packed bytes), writes DIR/results.json and table.md and
leaves the texts in DIR. gzip and xz see the texts one after the other as one file.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TOOLS, os.path.join(TOOLS, "compare")]
import compare  # noqa: E402
import evaluate  # noqa: E402

PROMPTS = ["The history of the city begins", "\"I did not expect to find you here,\" she said,",
           "To solve this problem, we first", "#include <vector>\n\n// ", "The patient should", "== Early life ==\n"]
PEERS = ["gzip -9", "xz -9e"]


def write(program, model, prompts, temperatures, size, seed, out):
    words = [program, "--out", out, "--bytes", str(size), "--seed", str(seed)] + (["--model", model] if model else [])
    for prompt in prompts:
        words += ["--prompt", prompt]
    for t in temperatures:
        words += ["--temperature", t]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--model", action="append", required=True, metavar="LABEL=FILE")
    p.add_argument("--temperatures", default="0.3,0.7,1")
    p.add_argument("--bytes", type=int, default=8192, help="of each prompt's text")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--codecs", default="mix,range")
    p.add_argument("--options", default="", help="further options of compress")
    p.add_argument("--build", default=os.path.join(os.path.dirname(TOOLS), "build"), help="folder with llmc-batch and write_text")
    p.add_argument("--ranks", type=int, default=0)
    p.add_argument("--extract-ranks", type=int, default=2)
    a = p.parse_args()
    out, build = os.path.abspath(a.out), os.path.abspath(a.build)
    models = dict(word.split("=", 1) for word in a.model)
    options = argparse.Namespace(binary=os.path.join(build, "llmc-batch"), mpirun="mpirun", ranks=a.ranks, extract_ranks=a.extract_ranks)
    systems = [evaluate.Ours(f"{label} {codec}", f"--codec {codec} {a.options}" + (f" --model {path}" if path else ""), options)
               for label, path in models.items() for codec in a.codecs.split(",")]
    rows = []
    for writer, path in models.items():
        texts = os.path.join(out, writer)
        write(os.path.join(build, "write_text"), path, PROMPTS, a.temperatures.split(","), a.bytes, a.seed, texts)
        for t in a.temperatures.split(","):
            names = [os.path.join(texts, f"t{float(t):g}-{i + 1}.txt") for i in range(len(PROMPTS))]
            plain = sum(map(os.path.getsize, names))
            row = {"writer": writer, "temperature": t, "bytes": plain, "packed": {}}
            with tempfile.TemporaryDirectory(dir=out) as folder:
                together = os.path.join(folder, "text")
                with open(together, "wb") as f:
                    for name in names:
                        with open(name, "rb") as text:
                            f.write(text.read())
                for peer in PEERS:
                    row["packed"][peer] = {"bytes": compare.peer_round_trip(peer, together, folder)["bytes"]}
                for system in systems:
                    packed = system.pack(names, folder)
                    row["packed"][system.label] = {k: packed[k] for k in ("bytes", "frame_bytes")}
            rows.append(row)
            with open(os.path.join(out, "results.json"), "w") as f:
                json.dump({"rows": rows, "systems": {s.label: s.describe() for s in systems}, "prompts": PROMPTS, "seed": a.seed}, f, indent=1)
    labels = PEERS + [s.label for s in systems]
    lines = ["| writer | temperature | bytes | " + " | ".join(labels) + " |", "|---|---:|---:|" + "---:|" * len(labels)]
    for row in rows:
        cells = []
        for label in labels:
            packed = row["packed"][label]
            cells.append(f"{row['bytes'] / packed['bytes']:.2f}" + (f" ({row['bytes'] / packed['frame_bytes']:.1f})" if "frame_bytes" in packed else ""))
        lines.append(f"| {row['writer']} | {row['temperature']} | {row['bytes']:,} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n\nPlain bytes / packed bytes; in brackets of frames alone, without the index of the archive.\n"
    with open(os.path.join(out, "table.md"), "w") as f:
        f.write(text)
    print(text, end="")


if __name__ == "__main__":
    main()
