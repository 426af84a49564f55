#!/usr/bin/env python3
"""Our engine beside llama.cpp, on the same checkpoint, threads and windows, in one run.

usage: bench_peers.py --gguf FILE [--binary llmc-batch] [--threads 2] [--streams 64] [--context 512] [--seconds 20]
                      [--repeat 2] [--json FILE]

The GGUF is imported by `llmc-batch model import` and re-quantised to Q8_0 by llama.cpp: eight bits of weight on both sides.
scoring: the probabilities of every token of whole windows, as compressing needs them. decoding: one token of each of
--streams windows a step, the windows' lengths spread evenly from 0 to --context; llama.cpp gives the logits, ours the
integer frequencies and a symbol found among them. Rounds alternate between the two, and the best of each is shown.

llama.cpp comes from PyPI, compiled for this machine: pip install llama-cpp-python. Without it: "not run", exit 77.
"""
import argparse
import ctypes
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

SAMPLE = ("Call me Ishmael. Some years ago - never mind how long precisely - having little or no money in my purse, and "
          "nothing particular to interest me on shore, I thought I would sail about a little and see the watery part of "
          "the world. It is a way I have of driving off the spleen, and regulating the circulation.\n"
          "for (size_t i = 0; i < rows.size(); ++i) total += rows[i].bytes;\n")


class Llama:
    """One context of llama.cpp with room for `streams` windows, through its C interface."""

    def __init__(self, lib, path, streams, context, threads, block):
        self.lib, self.streams, self.context, self.block = lib, streams, context, block
        lib.llama_log_set(self.quiet, None)
        model = lib.llama_model_default_params()
        model.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(str(path).encode(), model)
        if not self.model:
            sys.exit(f"bench_peers.py: llama.cpp cannot load {path}")
        params = lib.llama_context_default_params()
        params.n_ctx = streams * context
        params.n_batch = params.n_ubatch = block
        params.n_seq_max = streams
        params.n_threads = params.n_threads_batch = threads
        self.handle = lib.llama_init_from_model(self.model, params)
        if not self.handle:
            sys.exit("bench_peers.py: llama.cpp gives no context")
        self.memory = lib.llama_get_memory(self.handle)
        self.batch = lib.llama_batch_init(block, 0, 1)
        vocab = lib.llama_model_get_vocab(self.model)
        text = SAMPLE.encode()
        ids = (ctypes.c_int32 * len(text))()
        count = lib.llama_tokenize(vocab, text, len(text), ids, len(text), False, False)
        self.tokens = list(ids[:count])

    def close(self):
        self.lib.llama_batch_free(self.batch)
        self.lib.llama_free(self.handle)
        self.lib.llama_model_free(self.model)

    quiet = None  # the callback, kept alive

    def run(self, rows):
        """rows: (stream, position); all ask for logits."""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (stream, position) in enumerate(rows):
            b.token[i] = self.tokens[(position + 7 * stream) % len(self.tokens)]
            b.pos[i] = position
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = stream
            b.logits[i] = 1
        if self.lib.llama_decode(self.handle, b) != 0:
            sys.exit("bench_peers.py: llama_decode failed")
        return self.lib.llama_get_logits(self.handle)[0]  # waits for the result

    def forget(self, stream):
        self.lib.llama_memory_seq_rm(self.memory, stream, -1, -1)

    def score(self, seconds):
        done, begin = 0, None
        while begin is None or time.perf_counter() - begin < seconds:
            self.forget(0)
            for at in range(0, self.context, self.block):
                rows = [(0, p) for p in range(at, min(at + self.block, self.context))]
                self.run(rows)
                done += len(rows)
            if begin is None:
                begin, done = time.perf_counter(), 0
        return done / (time.perf_counter() - begin)

    def decode(self, seconds):
        positions = [self.context * s // self.streams for s in range(self.streams)]
        for stream, upto in enumerate(positions):
            self.forget(stream)
            for at in range(0, upto, self.block):
                self.run([(stream, p) for p in range(at, min(at + self.block, upto))])
        done, begin = 0, None
        while begin is None or time.perf_counter() - begin < seconds:
            for stream in range(self.streams):
                if positions[stream] == self.context:
                    self.forget(stream)
                    positions[stream] = 0
            self.run(list(enumerate(positions)))
            positions = [p + 1 for p in positions]
            done += self.streams
            if begin is None:
                begin, done = time.perf_counter(), 0
        return done / (time.perf_counter() - begin)


def ours(binary, model, threads, streams, seconds):
    per_thread = max(1, streams // threads)
    out = subprocess.run([binary, "bench", "--model", model, "--engine", "native", "--threads", str(threads), "--streams",
                          str(per_thread), "--seconds", str(seconds), "--json"], check=True, capture_output=True, text=True)
    report = json.loads(out.stdout)
    rate = {row["mode"]: row["tokens_per_second"] for row in report["rows"]}
    return report, rate["score"], rate["decode"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--binary", default=str(root / "build/llmc-batch"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--activations", default="16", help="of our side: 8, 16 or auto")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.streams % args.threads != 0:
        parser.error("--streams is a multiple of --threads")
    try:
        import llama_cpp
    except ImportError:
        print("not run: no llama.cpp here; pip install llama-cpp-python")
        return 77
    lib = llama_cpp
    Llama.quiet = lib.llama_log_callback(lambda level, text, data: None)
    lib.llama_log_set(Llama.quiet, None)
    lib.llama_backend_init()

    with tempfile.TemporaryDirectory(prefix="bench_peers.") as folder:
        q8 = pathlib.Path(folder, "q8_0.gguf")
        params = lib.llama_model_quantize_default_params()
        params.ftype = 7  # mostly Q8_0
        params.allow_requantize = True
        if lib.llama_model_quantize(args.gguf.encode(), str(q8).encode(), ctypes.byref(params)) != 0:
            sys.exit("bench_peers.py: llama.cpp cannot re-quantise the GGUF")
        model = pathlib.Path(folder, "ours.model")
        subprocess.run([args.binary, "model", "import", args.gguf, "-o", str(model), "--context", str(args.context),
                        "--activations", args.activations], check=True, capture_output=True)
        best = {}

        def note(name, rate):
            best[name] = max(best.get(name, 0), rate)

        for _ in range(args.repeat):
            peer = Llama(lib, q8, 1, args.context, args.threads, min(512, args.context))
            note("llama.cpp score", peer.score(args.seconds))
            peer.close()
            peer = Llama(lib, q8, args.streams, args.context, args.threads, min(512, args.context))
            note("llama.cpp decode", peer.decode(args.seconds))
            peer.close()
            report, score, decode = ours(args.binary, str(model), args.threads, args.streams, args.seconds)
            note("llmc-batch score", score)
            note("llmc-batch decode", decode)

    system = lib.llama_print_system_info().decode()
    print(f"{report['cpu']}, {args.threads} threads, windows of {args.context} tokens, {args.streams} streams when decoding")
    print(f"llama-cpp-python {lib.__version__} ({platform.machine()}; {system.strip()})")
    print(f"{'tokens a second':<26}{'scoring':>10}{'decoding':>10}")
    names = {"llama.cpp": "llama.cpp Q8_0", "llmc-batch": f"llmc-batch {report['profile']} {report['engine']}"}
    for who, name in names.items():
        print(f"{name:<26}{best[who + ' score']:>10.1f}{best[who + ' decode']:>10.1f}")
    ratio = {mode: best[f"llmc-batch {mode}"] / best[f"llama.cpp {mode}"] for mode in ("score", "decode")}
    print(f"{'ratio':<26}{ratio['score']:>10.2f}{ratio['decode']:>10.2f}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"cpu": report["cpu"], "commit": report["commit"], "model": args.gguf,
            "profile": report["profile"], "engine": report["engine"], "threads": args.threads, "streams": args.streams,
            "context": args.context, "llama_cpp_python": lib.__version__, "system": system, "tokens_per_second": best,
            "ratio": ratio}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
