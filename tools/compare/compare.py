#!/usr/bin/env python3
"""Measures llmc-batch beside classical compressors: one archive per file, and one of all files.

usage: compare.py --binary build/llmc-batch --out DIR [options] FILE...

Each file is compressed by one number of MPI ranks, extracted by another in a new process and compared byte for byte;
a difference ends the program with exit code 1. Bytes are those of the whole archive on disk, bpb = 8 x archive bytes /
plain bytes, KB/s = 1000 plain bytes per second of the whole process (start, model, MPI, fsync included). Writes DIR/table.md and
DIR/results.json beside the archives. Needs the Python standard library only; peers that are not installed show as "-".
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time

# name -> (program, compress arguments, extract arguments); {src} plain file, {out} packed file, {dir} folder of the result.
PEERS = {
    "xz -9e": ("xz", ["-9e", "-k", "-c", "{src}"], ["-d", "-c", "{out}"]),
    "zstd -22": ("zstd", ["-q", "--ultra", "-22", "-c", "{src}"], ["-q", "-d", "-c", "{out}"]),
    "gzip -9": ("gzip", ["-9", "-n", "-c", "{src}"], ["-d", "-c", "{out}"]),
    "brotli -11": ("brotli", ["-q", "11", "-w", "24", "-c", "{src}"], ["-d", "-c", "{out}"]),
    "PPMd": ("7z", ["a", "-bd", "-y", "-mmt=1", "-m0=PPMd", "-mx=9", "{out}", "{src}"], ["x", "-bd", "-y", "-o{dir}", "{out}"]),
    "zpaq -m5": ("zpaq", ["a", "{out}", "{src}", "-m5"], ["x", "{out}", "-to", "{dir}/"]),
}
SHOWN_PEERS = ["xz -9e", "zstd -22", "PPMd", "zpaq -m5"]


def run(command, stdout=subprocess.DEVNULL, cwd=None):
    """Seconds that the command took; its error output is shown and the program ends where it fails."""
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, cwd=cwd)
    seconds = time.monotonic() - began
    if done.returncode != 0:
        sys.stderr.write(done.stderr.decode("utf-8", "replace"))
        sys.exit(f"compare: exit code {done.returncode} from: {' '.join(command)}")
    return seconds


def size_of(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def same(left, right):
    with open(left, "rb") as a, open(right, "rb") as b:
        while True:
            x, y = a.read(1 << 20), b.read(1 << 20)
            if x != y:
                return False
            if not x:
                return True


class Ours:
    def __init__(self, options):
        self.options = options
        self.model = ["--model", options.model] if options.model else []

    def command(self, ranks, words):
        start = [] if ranks == 0 else [self.options.mpirun, "-n", str(ranks)]
        return start + [self.options.binary] + words

    def round_trip(self, sources, archive, back):
        """Compresses, extracts with another number of ranks, compares. Returns bytes and two times."""
        options = self.options
        for path in (archive, back):
            remove(path)
        packed = run(self.command(options.ranks, ["compress", *sources, "-o", archive, *self.model, *options.compress_args]))
        unpacked = run(self.command(options.extract_ranks, ["extract", archive, "-o", back, *self.model]))
        for source in sources:
            result = os.path.join(back, os.path.basename(source))
            if os.path.islink(result) or not same(source, result):
                sys.exit(f"compare: {source} does not come back from {archive}")
        shutil.rmtree(back)
        return {"bytes": size_of(archive), "compress_seconds": packed, "extract_seconds": unpacked}


def peer_round_trip(name, source, folder):
    program, pack, unpack = PEERS[name]
    if shutil.which(program) is None:
        return None
    # 7z and zpaq choose names and folders themselves: bare names in a folder of their own.
    suffix = {"7z": ".7z", "zpaq": ".zpaq"}.get(program, ".packed")
    out, back = os.path.join(folder, "peer" + suffix), os.path.join(folder, "peer-back")
    for path in (out, back):
        remove(path)
    os.makedirs(back)
    archiver = program in ("7z", "zpaq")
    base = os.path.basename(source)
    words = {"src": base if archiver else source, "out": out, "dir": back}
    fill = lambda arguments: [program] + [a.format(**words) for a in arguments]
    where = os.path.dirname(source) if archiver else None
    if archiver:
        packed = run(fill(pack), cwd=where)
        unpacked = run(fill(unpack), cwd=back)
        result = os.path.join(back, base)
    else:
        result = os.path.join(back, "plain")
        with open(out, "wb") as f:
            packed = run(fill(pack), stdout=f)
        with open(result, "wb") as f:
            unpacked = run(fill(unpack), stdout=f)
    if not same(source, result):
        sys.exit(f"compare: {source} does not come back from {program}")
    row = {"bytes": size_of(out), "compress_seconds": packed, "extract_seconds": unpacked}
    remove(out)
    shutil.rmtree(back)
    return row


def machine():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}


def output_of(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def model_of(binary, archive):
    try:
        info = json.loads(output_of([binary, "info", archive, "--json"]))
    except ValueError:
        return ""
    return f"{info.get('model', '')} {info.get('model_sha256', '')}".strip()


def bpb(packed, plain):
    return 8 * packed / plain


def table(results):
    peers = results["peers"]
    head = ["text", "bytes", "llmc-batch", "bpb", "compress KB/s", "extract KB/s"] + [f"{p} bpb" for p in peers]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    total = {"bytes": 0, "ours": 0, "compress": 0.0, "extract": 0.0, "peers": {p: 0 for p in peers}}
    for row in results["files"]:
        plain, ours = row["bytes"], row["llmc-batch"]
        cells = [row["name"], f"{plain:,}", f"{ours['bytes']:,}", f"**{bpb(ours['bytes'], plain):.3f}**",
                 f"{plain / 1000 / ours['compress_seconds']:.1f}", f"{plain / 1000 / ours['extract_seconds']:.1f}"]
        total["bytes"] += plain
        total["ours"] += ours["bytes"]
        total["compress"] += ours["compress_seconds"]
        total["extract"] += ours["extract_seconds"]
        for p in peers:
            peer = row["peers"][p]
            cells.append(f"{bpb(peer['bytes'], plain):.3f}" if peer else "-")
            if peer and total["peers"][p] is not None:
                total["peers"][p] += peer["bytes"]
            else:
                total["peers"][p] = None
        lines.append("| " + " | ".join(cells) + " |")
    if len(results["files"]) > 1:
        plain = total["bytes"]
        cells = ["sum of the rows", f"{plain:,}", f"{total['ours']:,}", f"**{bpb(total['ours'], plain):.3f}**",
                 f"{plain / 1000 / total['compress']:.1f}", f"{plain / 1000 / total['extract']:.1f}"]
        cells += [f"{bpb(total['peers'][p], plain):.3f}" if total["peers"][p] else "-" for p in peers]
        lines.append("| " + " | ".join(cells) + " |")
    if results["together"]:
        ours, plain = results["together"], results["together"]["plain_bytes"]
        cells = ["all in one archive", f"{plain:,}", f"{ours['bytes']:,}", f"**{bpb(ours['bytes'], plain):.3f}**",
                 f"{plain / 1000 / ours['compress_seconds']:.1f}", f"{plain / 1000 / ours['extract_seconds']:.1f}"]
        lines.append("| " + " | ".join(cells + [""] * len(peers)) + " |")
    return lines


def notes(results):
    ranks = lambda n: "one process without MPI" if n == 0 else f"mpirun -n {n}"
    there = [p for p in results["peers"] if any(row["peers"][p] for row in results["files"])]
    gone = [p for p in results["peers"] if p not in there]
    lines = [
        f"Compressed by {ranks(results['ranks'])}, extracted in a new process by {ranks(results['extract_ranks'])}, "
        "compared byte for byte: all equal.",
        "Bytes are whole archives on disk. The model is not in them: it is part of "
        + (results["model_file"] or "the program") + f", {results['model_bytes']:,} bytes.",
        "KB/s: 1000 plain bytes per second of the whole process. Times of the others are in results.json.",
        f"{results['machine']['cpu']}, {results['machine']['cores']} cores; {results['version'].splitlines()[0] if results['version'] else 'unknown version'}; "
        f"model {results['model'] or 'unknown'}",
    ]
    if gone:
        lines.append(f"Not installed, shown as \"-\": {', '.join(gone)}.")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--out", required=True, help="folder for archives, table.md and results.json")
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--ranks", type=int, default=3, help="ranks to compress with; 0: without mpirun")
    parser.add_argument("--extract-ranks", type=int, default=2, help="ranks to extract with; 0: without mpirun")
    parser.add_argument("--model", default="", help="model file instead of the embedded one")
    parser.add_argument("--peers", default=",".join(SHOWN_PEERS),
                        help=f"comma-separated, or empty; known: {', '.join(PEERS)}")
    parser.add_argument("--no-together", action="store_true", help="leave out the archive of all files")
    parser.add_argument("--no-single", action="store_true", help="leave out the archives of one file each")
    parser.add_argument("--compress-args", default="", help="more options for compress, separated by spaces")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    options.compress_args = options.compress_args.split()
    options.binary = os.path.abspath(options.binary)
    if options.model:
        options.model = os.path.abspath(options.model)
    out = os.path.abspath(options.out)
    os.makedirs(out, exist_ok=True)
    sources = [os.path.abspath(f) for f in options.files]
    peers = [p for p in options.peers.split(",") if p]
    for p in peers:
        if p not in PEERS:
            sys.exit(f"compare: unknown peer '{p}'; known: {', '.join(PEERS)}")
    ours = Ours(options)
    back = os.path.join(out, "back")
    results = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "machine": machine(),
               "version": output_of([options.binary, "--version"]), "model_file": options.model, "model": "",
               "model_bytes": os.path.getsize(options.model or options.binary),
               "ranks": options.ranks, "extract_ranks": options.extract_ranks, "peers": peers, "together": None, "files": []}
    archive = ""
    if not options.no_together:
        plain = sum(os.path.getsize(s) for s in sources)
        print(f"{len(sources)} texts, {plain:,} bytes, into one archive ...", flush=True)
        archive = os.path.join(out, "all.h5")
        row = ours.round_trip(sources, archive, back)
        results["together"] = {**row, "plain_bytes": plain}
        print(f"  {row['bytes']:,} bytes; compressed in {row['compress_seconds']:.1f} s, "
              f"extracted in {row['extract_seconds']:.1f} s, equal", flush=True)
    for source in [] if options.no_single else sources:
        name, plain = os.path.basename(source), os.path.getsize(source)
        archive = os.path.join(out, name + ".h5")
        row = ours.round_trip([source], archive, back)
        print(f"{name}: {plain:,} -> {row['bytes']:,} bytes, {bpb(row['bytes'], plain):.3f} bpb, equal", flush=True)
        results["files"].append({"name": name, "bytes": plain, "llmc-batch": row,
                                 "peers": {p: peer_round_trip(p, source, out) for p in peers}})
    results["model"] = model_of(options.binary, archive) if archive else ""
    with open(os.path.join(out, "results.json"), "w") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    text = "\n".join(table(results)) + "\n\n" + "\n".join(notes(results)) + "\n"
    with open(os.path.join(out, "table.md"), "w") as f:
        f.write(text)
    print("\n" + text, end="")


if __name__ == "__main__":
    main()
