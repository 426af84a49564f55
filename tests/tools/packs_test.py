"""packs_test.py ROOT: packs give back the documents that went in, and shared runs of words are found (needs numpy for those)."""
import gzip
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(sys.argv[1], "tools/train"))
import packs  # noqa: E402


def spill(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def main():
    with tempfile.TemporaryDirectory() as folder:
        texts = {"b/two": b"second \xc3\xa9\n", "a/one": b"x" * (3 << 20) + b"end", "c": b"third", "bad": b"\xff\xfe", "nul": b"a\0b", "none": b""}
        for name, data in texts.items():
            spill(os.path.join(folder, "in", name), data)
        expected = [texts["a/one"], texts["b/two"], texts["c"]]
        for name in ("p", "p.xz"):
            out = os.path.join(folder, name)
            assert packs.write_pack(out, [os.path.join(folder, "in")]) == (3, sum(map(len, expected)), 3)
            assert list(packs.documents([out])) == expected, name
        with open(os.path.join(folder, "p"), "rb") as f:
            spill(os.path.join(folder, "p.gz"), gzip.compress(f.read()))
        assert list(packs.documents([os.path.join(folder, "p.gz")] * 2)) == expected * 2
        some = [b"document %d" % i for i in range(4000)]
        kept_out = [d for d in some if packs.held_out(d, 0.1)]
        assert 300 < len(kept_out) < 500 and not any(packs.held_out(d, 0.0) for d in some)

        try:
            import overlap
        except ImportError:
            print("numpy is not here: shared runs of words were not looked for")
            return
        spill(os.path.join(folder, "q"), b"the quick brown fox jumps over the lazy dog and runs away\0Another, one.")
        spill(os.path.join(folder, "same"), b"Yes: THE quick  brown fox, jumps over\nthe lazy dog and runs!")
        spill(os.path.join(folder, "other"), b"the quick brown fox jumps over a lazy dog and runs away quickly")
        pack = [os.path.join(folder, "q")]
        found = {os.path.basename(p): (n, k) for p, n, k in overlap.report(pack, [os.path.join(folder, n) for n in ("same", "other")], 10)}
        assert found == {"same": (3, 2), "other": (4, 0)}, found


main()
