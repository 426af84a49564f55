"""evaluate_test.py ROOT BINARY: tools/evaluate.py measures what is missing and nothing else, and its figures are those on disk."""
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT, BINARY = sys.argv[1:3]
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_mpi_yield_when_idle="1",
                   OMPI_MCA_hwloc_base_binding_policy="none")


def evaluate(folder, *words):
    done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "tools/evaluate.py"), "--binary", BINARY, "--out",
                           os.path.join(folder, "out"), *words, os.path.join(folder, "texts")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout
    with open(os.path.join(folder, "out/results.json")) as f:
        return int(done.stdout.rsplit(" measured now", 1)[0].rsplit("\n", 1)[1]), json.load(f), done.stdout


def spill(folder, name, text):
    path = os.path.join(folder, "texts", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def main():
    with open(os.path.join(ROOT, "tests/data/text/alice29.txt")) as f:
        alice = f.read()
    with open(os.path.join(ROOT, "tests/data/text/code.txt")) as f:
        code = f.read()
    with tempfile.TemporaryDirectory() as folder:
        spill(folder, "prose/alice", alice[:9000])
        spill(folder, "prose/more", alice[20000:26000])
        spill(folder, "code/c", code[:8000])
        words = ["--peers", "gzip -9", "--ours", "range=--codec range", "--ours", "stored=--codec stored", "--ranks", "0", "--extract-ranks", "2"]
        measured, data, out = evaluate(folder, *words)
        assert measured == 9, out
        assert {t["kind"] for t in data["texts"].values()} == {"prose", "code"}, data["texts"]
        stored, ranged = data["summary"]["stored"], data["summary"]["range"]
        # Bytes are those of whole archives: more than the text where nothing is coded, with less than 2 KB and frames around it.
        for name, text in data["texts"].items():
            more = text["results"]["stored"]["bytes"] - text["bytes"]
            assert 0 < more < 2500, (name, more)
        assert ranged["bytes"] < data["summary"]["gzip -9"]["bytes"] < stored["bytes"]
        assert ranged["model_bytes"] == os.path.getsize(os.path.join(ROOT, "models/e0.safetensors"))
        assert abs(ranged["bpb_with_model"] - 8 * (ranged["bytes"] + ranged["model_bytes"]) / 23000) < 1e-9
        for plot in ("bpb.svg", "speed.svg"):
            xml.etree.ElementTree.parse(os.path.join(folder, "out", plot))

        # Called again it measures nothing; a changed text and changed options are measured anew, the rest stays.
        assert evaluate(folder, *words)[0] == 0
        spill(folder, "code/c", code[1000:8000])
        assert evaluate(folder, *words)[0] == 3
        words[3] = "range=--codec range --window 256"
        measured, changed, out = evaluate(folder, *words)
        assert measured == 3, out
        assert changed["summary"]["range"]["bytes"] > ranged["bytes"] * 0.9
        assert changed["texts"]["prose/alice"]["results"]["stored"] == data["texts"]["prose/alice"]["results"]["stored"]

        # Pairs, one archive of all, sweeps.
        measured, data, out = evaluate(folder, *words, "--pairs", "1", "--beside", "gzip -9", "--together", "--sweep-chunks", "4K,16K",
                                       "--sweep-windows", "64", "--sweep-systems", "range")
        assert measured == 3 * 2 + 2 + 3, out
        assert data["summary"]["range"]["speed_ratio"]["gzip -9"][0] > 0
        assert data["together"]["range"]["plain_bytes"] == 22000
        of = {(r["what"], r["value"]): r["bytes"] for r in data["sweep"]}
        assert of["chunk", 4096] > of["chunk", 16384], of
        xml.etree.ElementTree.parse(os.path.join(folder, "out/sweep.svg"))
        assert evaluate(folder, *words, "--limit", "2K")[0] == 9


main()
