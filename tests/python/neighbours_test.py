#!/usr/bin/env python3
"""The Python package and what is around it: the library it opens, h5py, torch, its README.

usage: neighbours_test.py CLASS     exit 77: this machine cannot run it, the last line says why
"""

import os
import re
import subprocess
import sys

import llmc
from cases import PROGRAM, ROOT, Case, main, run, text_of


class Library(Case):
    """What the shared library offers and what it needs."""

    def test_symbols(self):
        library = os.environ["LLMC_LIBRARY"]
        names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).decode().splitlines()]
        self.assertEqual([n for n in names if not n.startswith("llmc_")], [])
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", library).decode())
        self.assertTrue(needed)
        self.assertEqual([n for n in needed if re.search("hdf5|mpi|torch|boost|python", n)], [])

    def test_header_is_c(self):
        header = os.path.join(ROOT, "src/reader/llmc.h")
        self.put(
            "t.c",
            f'#include "{header}"\nint main(void) {{ return llmc_interface() == LLMC_INTERFACE ? 0 : 1; }}\n'.encode(),
        )
        env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        run("cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", self.at("t.c"), env=env)

    def test_package_is_as_the_header_says(self):
        from llmc import _library

        with open(os.path.join(ROOT, "src/reader/llmc.h")) as f:
            header = f.read()
        self.assertEqual(int(re.search(r"LLMC_INTERFACE (\d+)", header).group(1)), _library.INTERFACE)
        for struct, row in (
            ("llmc_facts", _library.Facts),
            ("llmc_counters", _library.Counts),
            ("llmc_document", _library.DocumentRow),
            ("llmc_record", _library.RecordRow),
        ):
            body = re.sub(
                r"/\*.*?\*/", "", re.search(r"typedef struct \{([^}]*)\} " + struct + ";", header).group(1), flags=re.S
            )
            fields = [
                name
                for part in re.findall(r"\w+ ([\w, \[\]]+);", body)
                for name in re.findall(r"([a-z_]\w*)(?:\[\w+\])?", part)
            ]
            self.assertEqual([n for n, _ in row._fields_], fields, struct)


class H5py:
    """In one process with h5py, whichever is imported first: each reads, and h5py writes through the filter."""

    program = """
import sys
for name in sys.argv[2].split(','):
    __import__(name)
import h5py, llmc, numpy
text = open(sys.argv[3], 'rb').read()
with h5py.File(sys.argv[1], 'r') as f:
    values = f['text'].id.get_create_plist().get_filter(0)[2]
for _ in range(2):
    with llmc.open(sys.argv[1]) as archive, h5py.File(sys.argv[1], 'r') as f:
        assert archive[590:610] == f['text'][590:610].tobytes() == text[590:610]
        with h5py.File(sys.argv[1] + '.new', 'w') as g:
            g['x'] = f['text'][:5]
            g.create_dataset('y', data=numpy.frombuffer(text[:1000], 'u1'), chunks=(600,), compression=51773, compression_opts=values)
        with h5py.File(sys.argv[1] + '.new', 'r') as g:
            assert g['y'].id.get_storage_size() < 700
            assert g['x'][:].tobytes() + g['y'][5:].tobytes() == text[:1000]
        assert archive[:] == text
print('h5py', h5py.version.version, 'HDF5', h5py.version.hdf5_version)
"""

    def test_either_order(self):
        find = [self.python, "-c", "import h5py; print(h5py.__file__)"]
        found = subprocess.run(find, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) if self.python else None
        if not found or found.returncode != 0 or (b"/dist-packages/" in found.stdout) != self.debian:
            self.skipTest("not run: " + self.missing)
        self.put("in.txt", text_of("alice29.txt", 1300))
        path = self.compress("in.txt", "x.h5", "--chunk", "600")
        for order in ("llmc,h5py", "h5py,llmc"):
            out = run(self.python, "-c", self.program, path, order, self.at("in.txt"))
            print(self.python, order, out.decode().strip())


class H5pyOfPyPI(H5py, Case):
    python, debian = os.environ.get("LLMC_PYTHON"), False
    missing = "LLMC_PYTHON names no Python with PyPI's h5py (tools/setup.sh makes one)"


class H5pyOfDebian(H5py, Case):
    python, debian = "/usr/bin/python3", True
    missing = "no Debian's h5py (the package python3-h5py)"


class Torch(Case):
    """The example, with torch where it is, else with as much of its interface as the example uses."""

    stand_in = {
        "torch/__init__.py": "uint8 = 'u1'\ndef frombuffer(data, dtype):\n    return memoryview(data)\n",
        "torch/utils/__init__.py": "",
        "torch/utils/data.py": """
class Dataset: pass
class IterableDataset: pass
def get_worker_info(): return None
class DataLoader:
    def __init__(self, dataset, batch_size, num_workers): self.dataset, self.batch_size = dataset, batch_size
    def __len__(self): return len(self.dataset)
    def __iter__(self):
        if isinstance(self.dataset, IterableDataset):
            return ([row] for row in self.dataset)
        return (self.dataset[i] for i in range(len(self.dataset)))
""",
    }

    def test_example(self):
        self.put("in/a", text_of("docs.txt", 3000))
        self.put("in/b", text_of("docs.txt", 700))
        path = self.compress("in", "t.set", "--codec", "zstd", "--chunk", "1100", "--shard", "2K")
        environment = dict(os.environ)
        real = (
            subprocess.run([sys.executable, "-c", "import torch.utils.data"], stderr=subprocess.DEVNULL).returncode == 0
        )
        if not real:
            for name, text in self.stand_in.items():
                self.put("stand_in/" + name, text.encode())
            environment["PYTHONPATH"] = self.at("stand_in") + ":" + environment["PYTHONPATH"]
        with llmc.open(path) as archive:
            windows = sum((end - begin) // 512 for begin, end in map(archive.chunk, range(archive.chunks)))
        for workers in ("0", "2") if real else ("0",):
            out = run(
                sys.executable, os.path.join(ROOT, "python/examples/torch_dataset.py"), path, workers, env=environment
            )
            self.assertEqual(out.decode(), f"{windows} windows of 512 bytes; 2 documents, 3700 bytes\n")
        if not real:
            self.skipTest("not run: no torch in this Python; the example ran with a stand-in")


class Readme(Case):
    """The first program of python/README.md, as it stands there."""

    def test_readme(self):
        self.put("in/a/b.txt", text_of("irc.txt", 5000))
        self.put("in/big.txt", b"a line of text\n" * 80_000)
        self.put("in/log.jsonl", b"{}\n" * 40)
        run(
            PROGRAM,
            "compress",
            ".",
            "-o",
            "../corpus.set",
            "--codec",
            "zstd",
            "--documents",
            "records",
            "-q",
            cwd=self.at("in"),
        )
        with open(os.path.join(ROOT, "python/README.md")) as f:
            program = re.search(r"```python\n(.*?)```", f.read(), re.S).group(1)
        out = run(sys.executable, "-c", program, cwd=self.dir)
        self.assertIn(b"a/b.txt file 5000", out)


if __name__ == "__main__":
    main()
