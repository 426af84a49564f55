#!/usr/bin/env python3
"""Measures systems on texts by the protocol of docs/EVALUATION.md: table, JSON and plots. Resumes where it stopped.

    tools/evaluate.py --out DIR tests/data/text                                     # mix and range beside the classical ones
    tools/evaluate.py --out DIR --ours "smollm2=--model FILE --codec mix" TEXTS
    tools/evaluate.py --out DIR --pairs 5 --beside "zpaq -m5" TEXTS                 # speeds as medians of five pairs
    tools/evaluate.py --out DIR --sweep-chunks 4K,64K,1M --sweep-windows 256,1024 TEXTS

TEXTS are files and folders; a text's kind is the first folder below the one given, or what --kinds FILE (lines "NAME KIND")
says, or its name. Each system of ours is LABEL=OPTIONS OF COMPRESS. Every archive is extracted in a new process by another number
of ranks and compared byte for byte; a difference ends the program. DIR/results.json keeps what was measured: called again,
the program measures what is missing or has changed (text, options, model, version of a program). Beside it DIR gets table.md,
bpb.svg, speed.svg and, after a sweep, sweep.svg. Needs Python's standard library and whatever peers are to be measured.
"""
import argparse
import collections
import datetime
import hashlib
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare"))
import compare  # noqa: E402
import evaluate_plots  # noqa: E402

CLASSICAL = ["xz -9e", "zstd -22", "brotli -11", "PPMd", "zpaq -m5"]
OURS = ["mix=--codec mix", "range=--codec range"]
VERSION_WORDS = {"zpaq": [], "7z": []}  # the others take --version
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text):
    number, unit = text.rstrip("KMG"), text.lstrip("0123456789")
    try:
        return int(number) * UNITS[unit]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"a size is 4096, 64K or 1M, not '{text}'")


def sizes(text):
    return [size(word) for word in text.split(",") if word]


def size_name(n):
    for unit in "GMK":
        if n % UNITS[unit] == 0:
            return f"{n // UNITS[unit]}{unit}"
    return str(n)


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def first_line(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError:
        return ""
    return next((line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()), "")


class System:
    """One way to pack a text. `identity` is what its figures depend on, beside the text."""

    def __init__(self, label):
        self.label = label
        self.identity = {}

    def describe(self):
        return dict(self.identity)


class Peer(System):
    ours = False

    def __init__(self, label):
        super().__init__(label)
        program, pack, _ = compare.PEERS[label]
        self.there = shutil.which(program) is not None
        words = [program, *VERSION_WORDS.get(program, ["--version"])]
        self.identity = {"program": first_line(words) if self.there else "", "options": " ".join(pack)}

    def round_trip(self, source, folder):
        return compare.peer_round_trip(self.label, source, folder)


class Ours(System):
    ours = there = True

    def __init__(self, label, words, options):
        super().__init__(label)
        self.words = shlex.split(words)
        model = ""
        if "--model" in self.words:
            at = self.words.index("--model")
            if at + 1 == len(self.words):
                sys.exit(f"evaluate: {label}: --model needs a file")
            model = os.path.abspath(self.words[at + 1])
            del self.words[at:at + 2]
        settings = argparse.Namespace(**vars(options), model=model, compress_args=self.words)
        self.runner = compare.Ours(settings)
        info = compare.output_of([options.binary, "model", "info", *([model] if model else []), "--json"])
        if not info:
            sys.exit(f"evaluate: {label}: '{options.binary} model info {model}' does not work")
        info = json.loads(info)
        self.identity = {"program": first_line([options.binary, "--version"]), "options": " ".join(self.words),
                         "model": info["name"], "model_sha256": info["sha256"], "model_bytes": info["bytes"]}

    def pack(self, sources, folder):
        archive = os.path.join(folder, "text.h5")
        row = self.runner.round_trip(sources, archive, os.path.join(folder, "back"))
        row["frame_bytes"] = json.loads(compare.output_of([self.runner.options.binary, "info", archive, "--json"]))["frame_bytes"]
        if len(sources) > 1:
            row["frame_bytes_by_text"] = self.shares(archive, sources)
        compare.remove(archive)
        return row

    def shares(self, archive, sources):
        """Bytes of frames by text; of a chunk that holds parts of two, each has its part."""
        rows = compare.output_of([self.runner.options.binary, "list", archive, "--chunks", "--json"]).splitlines()
        chunks = [json.loads(row) for row in rows]
        out, begin = {}, 0
        for source in sorted(sources, key=lambda path: os.path.basename(path).encode()):
            end = begin + os.path.getsize(source)
            both = lambda c: min(end, c["text_offset"] + c["text_bytes"]) - max(begin, c["text_offset"])
            out[source] = sum(c["frame_bytes"] * max(both(c), 0) / c["text_bytes"] for c in chunks)
            begin = end
        return out

    def round_trip(self, source, folder):
        return self.pack([source], folder)

    def with_words(self, words):
        """The same system with one option, and its value, changed: for sweeps."""
        other = Ours.__new__(Ours)
        other.__dict__.update(self.__dict__)
        options = argparse.Namespace(**vars(self.runner.options))
        kept = list(self.words)
        if words[0] in kept:
            at = kept.index(words[0])
            del kept[at:at + 2]
        options.compress_args = kept + words
        other.runner = compare.Ours(options)
        other.identity = dict(self.identity, options=" ".join(options.compress_args))
        return other


class Results:
    """results.json: written after every measurement, so that a stop loses one at most."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "results.json")
        self.measured = 0
        self.data = {"texts": {}, "systems": {}, "together": {}, "sweep": []}
        if os.path.exists(self.path):
            with open(self.path) as f:
                self.data = json.load(f)

    def keep(self, texts, systems, machine):
        """Drops what was measured on other texts or with other systems of the same name."""
        for label, old in list(self.data["systems"].items()):
            now = next((s for s in systems if s.label == label), None)
            if now and now.describe() != old:
                for text in self.data["texts"].values():
                    text["results"].pop(label, None)
                self.data["together"].pop(label, None)
        if self.data.get("machine", machine) != machine:
            print("evaluate: another machine than before: its times are kept beside those of this one", file=sys.stderr)
        whole = []
        for text in texts:
            old = self.data["texts"].get(text["name"])
            if old is None or old["sha256"] != text["sha256"]:
                self.data["texts"][text["name"]] = {k: text[k] for k in ("bytes", "sha256", "kind")} | {"results": {}}
            self.data["texts"][text["name"]]["kind"] = text["kind"]
            whole.append(text["sha256"])
        names = {t["name"] for t in texts}
        self.data["texts"] = {n: t for n, t in self.data["texts"].items() if n in names}
        self.data["systems"] = {s.label: s.describe() for s in systems}
        digest = hashlib.sha256(" ".join(sorted(whole)).encode()).hexdigest()
        if self.data.get("all_sha256") != digest:
            self.data.update(together={}, sweep=[], all_sha256=digest)
        self.data.update(machine=machine, when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"))
        self.save()

    def save(self):
        with open(self.path + ".new", "w") as f:
            json.dump(self.data, f, indent=1)
            f.write("\n")
        os.replace(self.path + ".new", self.path)

    def add(self):
        self.measured += 1
        self.save()


def find_texts(options, folder):
    """Every text, cut to --limit bytes where that is given. Names are those below the folders given."""
    kinds = {}
    if options.kinds:
        with open(options.kinds) as f:
            kinds = dict(line.split(None, 1) for line in f.read().splitlines() if line.strip())
    found = []
    for path in options.texts:
        if os.path.isdir(path):
            inside = [os.path.join(at, n) for at, _, names in os.walk(path) for n in names]
            found += [(os.path.relpath(p, path), p) for p in sorted(inside)]
        elif os.path.isfile(path):
            found.append((os.path.basename(path), path))
        else:
            sys.exit(f"evaluate: {path}: no such file or folder")
    os.makedirs(os.path.join(folder, "texts"))
    texts = []
    for name, path in found:
        # A copy, so that links are followed, names are flat, and nothing changes while it is measured.
        staged = os.path.join(folder, "texts", name.replace(os.sep, "_"))
        if os.path.exists(staged):
            sys.exit(f"evaluate: two texts are called {name}")
        with open(path, "rb") as f, open(staged, "wb") as out:
            left = options.limit or os.path.getsize(path)
            while block := f.read(min(left, 1 << 20)):
                out.write(block)
                left -= len(block)
        if os.path.getsize(staged) == 0:
            continue
        kind = kinds.get(name) or (name.split(os.sep)[0] if os.sep in name else name)
        texts.append({"name": name, "path": staged, "kind": kind, "bytes": os.path.getsize(staged), "sha256": file_digest(staged)})
    if not texts:
        sys.exit("evaluate: no texts")
    return texts


def measure(texts, systems, results, options, folder):
    beside = next((s for s in systems if s.label == options.beside), None)
    for text in texts:
        row = results.data["texts"][text["name"]]["results"]
        for system in systems:
            if system.there and system.label not in row and not (system.ours and options.no_single):
                row[system.label] = system.round_trip(text["path"], folder)
                results.add()
                print(f"{text['name']}: {system.label} {compare.bpb(row[system.label]['bytes'], text['bytes']):.3f} bpb", flush=True)
        for system in systems:
            if not (options.pairs and beside and beside.there) or system is beside or system.label not in row:
                continue
            pairs = row[system.label].setdefault("pairs", {}).setdefault(beside.label, [])
            while len(pairs) < options.pairs:
                mine, peer = system.round_trip(text["path"], folder), beside.round_trip(text["path"], folder)
                pairs.append([mine["compress_seconds"], mine["extract_seconds"], peer["compress_seconds"], peer["extract_seconds"]])
                results.add()


def together(texts, systems, results, folder):
    sources = [t["path"] for t in texts]
    for system in systems:
        if system.ours and system.label not in results.data["together"]:
            row = {**system.pack(sources, folder), "plain_bytes": sum(t["bytes"] for t in texts)}
            by_path = row.pop("frame_bytes_by_text", {})
            row["frames"] = {t["name"]: round(by_path[t["path"]], 1) for t in texts if t["path"] in by_path}
            results.data["together"][system.label] = row
            results.add()


def sweep(texts, systems, results, options, folder):
    """bpb of one archive of all texts against the size of chunks and the length of windows, one varied at a time."""
    plain = sum(t["bytes"] for t in texts)
    sources = [t["path"] for t in texts]
    settings = [("chunk", n, ["--chunk", size_name(n)]) for n in options.sweep_chunks]
    settings += [("window", n, ["--window", str(n)]) for n in options.sweep_windows]
    for system in systems:
        if not system.ours or system.label not in (options.sweep_systems or [system.label]):
            continue
        for what, value, words in settings:
            varied = system.with_words(words)
            key = {"system": system.label, "what": what, "value": value, **varied.describe()}
            if any(all(old.get(k) == v for k, v in key.items()) for old in results.data["sweep"]):
                continue
            row = {**key, **varied.pack(sources, folder), "plain_bytes": plain}
            results.data["sweep"].append(row)
            results.add()
            print(f"{system.label}, {what} {size_name(value)}: {compare.bpb(row['bytes'], plain):.3f} bpb", flush=True)


def mean(values):
    return sum(values) / len(values)


def summary(data):
    """Per system: bytes over all texts that it has, mean bpb, speeds, and what the model adds."""
    out = {}
    for label, system in data["systems"].items():
        rows = [(t, t["results"][label]) for t in data["texts"].values() if label in t["results"]]
        if not rows:
            continue
        plain = sum(t["bytes"] for t, _ in rows)
        packed = sum(r["bytes"] for _, r in rows)
        one = {"texts": len(rows), "plain_bytes": plain, "bytes": packed, "bpb": compare.bpb(packed, plain),
               "mean_bpb": mean([compare.bpb(r["bytes"], t["bytes"]) for t, r in rows]),
               "compress_kb_s": plain / 1000 / sum(r["compress_seconds"] for _, r in rows),
               "extract_kb_s": plain / 1000 / sum(r["extract_seconds"] for _, r in rows),
               "model_bytes": system.get("model_bytes", 0)}
        one["bpb_with_model"] = compare.bpb(packed + one["model_bytes"], plain)
        ratios = collections.defaultdict(lambda: ([], []))
        for _, r in rows:
            for beside, pairs in r.get("pairs", {}).items():
                for a, b, c, d in pairs:
                    ratios[beside][0].append(c / a)
                    ratios[beside][1].append(d / b)
        one["speed_ratio"] = {beside: [statistics.median(c), statistics.median(x)] for beside, (c, x) in ratios.items()}
        out[label] = one
    return out


def alone(data, labels, all_of):
    """Archives of single texts, and what they come to by system."""
    lines = ["| text | bytes | " + " | ".join(labels) + " |", "|---|---:|" + "---:|" * len(labels)]
    cell = lambda t, s: f"{compare.bpb(t['results'][s]['bytes'], t['bytes']):.3f}" if s in t["results"] else "-"
    for name, t in sorted(data["texts"].items()):
        lines.append(f"| {name} | {t['bytes']:,} | " + " | ".join(cell(t, s) for s in labels) + " |")
    lines.append("| mean of the texts | | " + " | ".join(f"**{all_of[s]['mean_bpb']:.3f}**" for s in labels) + " |")
    lines += ["", "| system | bpb of all bytes | with the model | model bytes | compress KB/s | extract KB/s | speed beside |",
              "|---|---:|---:|---:|---:|---:|---|"]
    for s in labels:
        one = all_of[s]
        ratios = ", ".join(f"{b}: ×{c:.3g} compress, ×{x:.3g} extract" for b, (c, x) in one["speed_ratio"].items())
        lines.append(f"| {s} | {one['bpb']:.3f} | {one['bpb_with_model']:.3f} | {one['model_bytes']:,} | {one['compress_kb_s']:.1f} | "
                     f"{one['extract_kb_s']:.1f} | {ratios} |")
    return lines


def tables(data):
    labels = [s for s in data["systems"] if any(s in t["results"] for t in data["texts"].values())]
    lines, all_of = [], summary(data)
    if labels:
        lines += alone(data, labels, all_of)
    if data["together"]:
        lines += ["", "| all texts in one archive | bytes | packed | bpb | frames alone, bpb |", "|---|---:|---:|---:|---:|"]
        for s, r in data["together"].items():
            lines.append(f"| {s} | {r['plain_bytes']:,} | {r['bytes']:,} | {compare.bpb(r['bytes'], r['plain_bytes']):.3f} | "
                         f"{compare.bpb(r['frame_bytes'], r['plain_bytes']):.3f} |")
        labels = [s for s, r in data["together"].items() if r.get("frames")]
        if labels:
            lines += ["", "| frames in that archive, bpb | " + " | ".join(labels) + " |", "|---|" + "---:|" * len(labels)]
        for name, t in sorted(data["texts"].items()) if labels else []:
            cells = [f"{8 * data['together'][s]['frames'][name] / t['bytes']:.3f}" for s in labels]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if data["sweep"]:
        lines += ["", "| all texts in one archive | varied | bpb | compress KB/s | extract KB/s |", "|---|---|---:|---:|---:|"]
        for r in data["sweep"]:
            kb = r["plain_bytes"] / 1000
            lines.append(f"| {r['system']} | {r['what']} {size_name(r['value'])} | {compare.bpb(r['bytes'], r['plain_bytes']):.3f} | "
                         f"{kb / r['compress_seconds']:.1f} | {kb / r['extract_seconds']:.1f} |")
    return lines


def notes(data, options):
    how = lambda n: "one process without MPI" if n == 0 else f"mpirun -n {n}"
    machine = data["machine"]
    lines = [f"Compressed by {how(options.ranks)}, extracted in a new process by {how(options.extract_ranks)}, compared byte for byte: "
             "all equal. bpb: 8 × bytes of the whole archive / bytes of text, without the model where no other is said. KB/s: 1000 plain "
             "bytes a second of the whole process.",
             f"{machine['cpu']}, {machine['cores']} cores, {data['when'][:10]}."]
    for label, s in data["systems"].items():
        model = f"; model {s['model']}, sha256 {s['model_sha256']}" if "model" in s else ""
        lines.append(f"{label}: {s['program'] or 'not installed'}, {s['options']}{model}.")
    return lines


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("texts", nargs="+")
    p.add_argument("--out", required=True, help="folder for results.json, table.md and plots")
    p.add_argument("--binary", default=os.path.join(os.path.dirname(__file__), "..", "build", "llmc-batch"))
    p.add_argument("--ours", action="append", metavar="LABEL=OPTIONS", help=f"may stand several times; default: {', '.join(OURS)}")
    p.add_argument("--peers", default=",".join(CLASSICAL), help=f"comma-separated, or empty; known: {', '.join(compare.PEERS)}")
    p.add_argument("--limit", type=size, default=0, help="only the first bytes of each text")
    p.add_argument("--kinds", metavar="FILE", help='lines "NAME KIND"')
    p.add_argument("--pairs", type=int, default=0, help="further runs of each system and --beside in turns, for speeds")
    p.add_argument("--beside", default="zpaq -m5", help="the peer that speeds are ratios to")
    p.add_argument("--together", action="store_true", help="also all texts in one archive, and whose frames are how large in it")
    p.add_argument("--no-single", action="store_true", help="no archive of each text alone (the peers' are made)")
    p.add_argument("--sweep-chunks", type=sizes, default=[], metavar="SIZES")
    p.add_argument("--sweep-windows", type=sizes, default=[], metavar="TOKENS")
    p.add_argument("--sweep-systems", type=lambda t: t.split(","), metavar="LABELS", help="default: all of ours")
    p.add_argument("--mpirun", default="mpirun")
    p.add_argument("--ranks", type=int, default=3, help="ranks to compress with; 0: without mpirun")
    p.add_argument("--extract-ranks", type=int, default=2, help="ranks to extract with; 0: without mpirun")
    options = p.parse_args()
    options.binary, options.out = os.path.abspath(options.binary), os.path.abspath(options.out)
    if options.ranks == options.extract_ranks:
        p.error("--ranks and --extract-ranks must differ")
    runner = argparse.Namespace(binary=options.binary, mpirun=options.mpirun, ranks=options.ranks, extract_ranks=options.extract_ranks)
    systems = []
    for word in options.ours or OURS:
        label, equals, words = word.partition("=")
        if not equals:
            p.error(f"--ours {word}: LABEL=OPTIONS OF COMPRESS")
        systems.append(Ours(label, words, runner))
    for label in [w for w in options.peers.split(",") if w]:
        if label not in compare.PEERS:
            p.error(f"unknown peer '{label}'; known: {', '.join(compare.PEERS)}")
        systems.append(Peer(label))
    os.makedirs(options.out, exist_ok=True)
    results = Results(options.out)
    with tempfile.TemporaryDirectory(prefix="evaluate.", dir=options.out) as folder:
        texts = find_texts(options, folder)
        results.keep(texts, systems, compare.machine())
        measure(texts, systems, results, options, folder)
        if options.together:
            together(texts, systems, results, folder)
        sweep(texts, systems, results, options, folder)
    results.data["summary"] = summary(results.data)
    results.save()
    text = "\n".join(tables(results.data)) + "\n\n" + "\n".join(notes(results.data, options)) + "\n"
    with open(os.path.join(options.out, "table.md"), "w") as f:
        f.write(text)
    evaluate_plots.write_all(results.data, options.out)
    print("\n" + text + f"\n{results.measured} measured now; all of it is in {options.out}")


if __name__ == "__main__":
    main()
