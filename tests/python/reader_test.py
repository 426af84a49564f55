#!/usr/bin/env python3
"""The Python package over archives that the program makes.

usage: reader_test.py CLASS     exit 77: this machine cannot run it, the last line says why
"""

import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import llmc
from cases import PROGRAM, ROOT, Case, main, run, text_of


class Text(Case):
    """Bytes by number, with every codec; no more is decoded than they need."""

    def test_slices(self):
        text = self.put("in.txt", text_of("alice29.txt", 3000))
        for codec in ("mix", "range", "rank", "zstd", "stored"):
            path = self.compress("in.txt", codec + ".h5", "--codec", codec, "--chunk", "700")
            with llmc.open(path) as archive:
                self.assertEqual(len(archive), 3000)
                self.assertEqual(
                    (archive.codec, archive.chunks, archive.chunk_bytes, archive.shards), (codec, 5, 700, 1)
                )
                for where in (
                    slice(0, 3000),
                    slice(699, 701),
                    slice(-5, None),
                    slice(10, 10),
                    slice(20, 10),
                    slice(2800, 9000),
                ):
                    self.assertEqual(archive[where], text[where], (codec, where))
                self.assertEqual((archive[0], archive[-1]), (text[0], text[-1]))
                self.assertRaises(IndexError, lambda: archive[3000])
                self.assertRaises(ValueError, lambda: archive[0:10:2])
                self.assertEqual(archive.chunk(4), (2800, 3000))
                self.assertRaises(IndexError, lambda: archive.chunk(5))

    def test_dictionaries(self):
        text = self.put("in.txt", text_of("alice29.txt", 3000))
        with llmc.open(self.compress("in.txt", "dictionary.h5", "--chunk", "500", "--dictionary", "1K")) as archive:
            for where in (slice(1200, 1300), slice(0, 3000)):
                self.assertEqual(archive[where], text[where])

    def test_adaptations(self):
        self.put("sample", text_of("irc.txt", 17000))
        run(PROGRAM, "model", "adapt", self.at("sample"), "-o", self.at("fit"))
        text = self.put("in3.txt", text_of("irc.txt", 2000, 20000))
        with llmc.open(self.compress("in3.txt", "adapted.h5", "--chunk", "500", "--adapt", "fit")) as archive:
            for where in (slice(700, 800), slice(0, 2000)):
                self.assertEqual(archive[where], text[where])

    def test_only_the_chunks_that_are_needed(self):
        text = self.put("in2.txt", text_of("law.txt", 6000))
        path = self.compress("in2.txt", "counted.h5", "--chunk", "1K")
        sizes = [int(n) for n in re.findall(rb'"frame_bytes":(\d+)', run(PROGRAM, "list", "--chunks", "--json", path))]
        tokens = [int(n) for n in re.findall(rb'"tokens":(\d+)', run(PROGRAM, "list", "--chunks", "--json", path))]
        archive = llmc.open(path)
        self.assertEqual(archive.counters, (0, 0, 0, 0))
        self.assertEqual(archive[1030:1040], text[1030:1040])
        self.assertEqual(archive.counters, (sizes[1], 1, tokens[1], 0))
        self.assertEqual(archive[1000:2000], text[1000:2000])  # chunks 0 and 1, of which one is kept
        self.assertEqual(archive.counters, (sizes[0] + sizes[1], 2, tokens[0] + tokens[1], 1))
        with llmc.open(path, cache_bytes=0) as forgetful:
            for _ in range(2):
                self.assertEqual(forgetful[:10], text[:10])
            self.assertEqual(forgetful.counters, (2 * sizes[0], 2, 2 * tokens[0], 0))

    def test_as_a_file(self):
        self.put("in3.txt", text_of("docs.txt", 5000))
        with llmc.open(self.compress("in3.txt", "file.h5", "--codec", "zstd", "--chunk", "512")) as archive:
            with archive.open() as f, open(self.at("in3.txt"), "rb") as expected:
                self.assertEqual(list(f), list(expected))
                self.assertEqual((f.seek(-100, 2), f.read()), (4900, archive[4900:]))
                self.assertEqual((f.seek(17), f.read(3), f.tell()), (17, archive[17:20], 20))

    def test_closing(self):
        self.put("in4.txt", b"some text")
        with llmc.open(self.compress("in4.txt", "close.h5")) as archive:
            document = archive.documents[0]
        self.assertTrue(archive.closed)
        self.assertRaises(ValueError, lambda: archive[0])
        self.assertRaises(ValueError, document.read)

    def test_nothing(self):
        self.put("empty.txt", b"")
        with llmc.open(self.compress("empty.txt", "empty.h5")) as archive:
            self.assertEqual((len(archive), archive[:], archive.documents[0].read()), (0, b"", b""))


class Documents(Case):
    """Names, kinds, metadata and bytes of files, folders and links."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.files = {
            b"in/a.txt": text_of("fra.txt", 900),
            b"in/empty": b"",
            b"in/sub/b.txt": text_of("deu.txt", 1500),
            b"in/sub/\xff\n.bin": bytes(range(256)),
        }
        for name, data in cls.files.items():
            cls.put(os.fsdecode(name), data)
        os.makedirs(cls.at("in/folder"))
        os.symlink("sub/b.txt", cls.at("in/link"))
        os.chmod(cls.at("in/a.txt"), 0o640)
        os.utime(cls.at("in/a.txt"), ns=(5, 1_234_567_890_123_456_789))
        cls.archive = llmc.open(cls.compress("in", "a.h5", "--chunk", "512"))

    def test_all(self):
        documents = self.archive.documents
        names = [d.name_bytes for d in documents]
        self.assertEqual(names, sorted(names))
        self.assertEqual(len(documents), len(names))
        self.assertEqual({d.name_bytes for d in documents if d.kind == "file"}, set(self.files))
        for d in documents:
            if d.kind == "file":
                self.assertEqual(d.read(), self.files[d.name_bytes], d.name)
                self.assertEqual(bytes(d), d[:])
                self.assertEqual(self.archive[d.begin : d.begin + d.size], d.read())
        self.assertEqual(documents["in/link"].target, "sub/b.txt")
        self.assertEqual((documents["in/link"].kind, documents["in/folder"].kind), ("link", "folder"))

    def test_appended(self):
        self.put("more/z.txt", text_of("law.txt", 700))
        self.put("more/c.jsonl", b'{"a":1}\n{"b":2}\n')
        path = self.compress("in", "appended.set", "--chunk", "512", "--shard", "1K", "--codec", "zstd")
        run(PROGRAM, "append", "more", "-o", path, "-q", "--documents", "records", cwd=self.dir)
        with llmc.open(path) as archive:
            documents = archive.documents
            names = [d.name_bytes for d in documents]
            self.assertEqual(names[-3:], [b"more", b"more/c.jsonl", b"more/z.txt"])
            self.assertEqual([d.number for d in documents], list(range(len(names))))
            for name, data in [*self.files.items(), (b"more/z.txt", text_of("law.txt", 700))]:
                self.assertEqual(documents[name].read(), data, name)
                self.assertEqual(names[documents[name].number], name)
                self.assertEqual(archive[documents[name].begin :][: len(data)], data)
            self.assertEqual(bytes(documents["more/c.jsonl"].records[1]), b'{"b":2}\n')
            self.assertNotIn("more/nobody", documents)

    def test_names(self):
        documents = self.archive.documents
        self.assertEqual(documents["in/sub/\udcff\n.bin"].read(), bytes(range(256)))
        self.assertEqual(documents[b"in/a.txt"][3:9], self.files[b"in/a.txt"][3:9])
        self.assertIn("in/empty", documents)
        self.assertNotIn("in/nobody", documents)
        self.assertNotIn(7, documents)
        self.assertIsNone(documents.get("in" "/nobody"))
        self.assertRaises(KeyError, lambda: documents["in/nobody"])
        self.assertRaises(IndexError, lambda: documents[len(documents)])
        self.assertEqual(documents[-1].number, len(documents) - 1)
        self.assertEqual([d.number for d in documents[1:3]], [1, 2])

    def test_metadata(self):
        a = self.archive.documents["in/a.txt"]
        self.assertEqual((a.mode, a.mtime_ns, a.offset, len(a)), (0o640, 1_234_567_890_123_456_789, 0, 900))


class Records(Case):
    """Lines and members."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.put("in/log.jsonl", b'{"n":1}\n{"n":2}\n\n{"n":4}')
        cls.put("c/one", text_of("tldr.txt", 700))
        cls.put("c/two", b"2")
        with tarfile.open(cls.at("in/box.tar"), "w") as box:
            box.add(cls.at("c"), "c")
        with zipfile.ZipFile(cls.at("in/box.zip"), "w") as box:
            box.write(cls.at("c/one"), "one", zipfile.ZIP_DEFLATED)
            box.write(cls.at("c/two"), "two", zipfile.ZIP_STORED)
        cls.path = cls.compress(
            "in", "r.set", "--documents", "records", "--codec", "zstd", "--shard", "4K", "--chunk", "1K"
        )

    def test_records(self):
        with llmc.open(self.path) as archive:
            self.assertGreater(archive.shards, 1)
            lines = archive.documents["in/log.jsonl"].records
            self.assertEqual([r.read() for r in lines], [b'{"n":1}\n', b'{"n":2}\n', b"\n", b'{"n":4}'])
            self.assertEqual((lines[1][2:5], archive.documents["in/log.jsonl"].records_kind), (b'n":', "jsonl"))
            for box in ("in/box.tar", "in/box.zip"):
                members = {r.name.split("/")[-1]: r.read() for r in archive.documents[box].records}
                self.assertEqual((members["one"], members["two"]), (text_of("tldr.txt", 700), b"2"), box)


class Sets(Case):
    """Files that are cut over shards; one shard opened alone; other processes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.big = cls.put("in/big", text_of("enwik6", 20_000))
        cls.small = cls.put("in/small", text_of("peps.txt", 3_000))
        cls.path = cls.compress("in", "s.set", "--codec", "zstd", "--shard", "6K", "--chunk", "1K")

    def test_cut_over_shards(self):
        with llmc.open(self.path) as archive:
            self.assertEqual(archive.shards, 4)
            self.assertEqual(
                [(d.name, d.read()) for d in archive.documents if d.kind == "file"],
                [("in/big", self.big), ("in/small", self.small)],
            )
            self.assertEqual(archive[5_000:21_000], (self.big + self.small)[5_000:21_000])
            borders = [archive.chunk(n) for n in range(archive.chunks)]
            self.assertEqual((borders[0][0], borders[-1][1]), (0, 23_000))
            self.assertTrue(all(a[1] == b[0] for a, b in zip(borders, borders[1:])))

    def test_one_shard_alone(self):
        with llmc.open(self.at("s.set/shard-000001.h5")) as shard:
            (d,) = shard.documents
            self.assertEqual((d.name, d.offset, d.size), ("in/big", 6144, 6144))
            self.assertEqual(d.read(), self.big[6144:12288])

    def test_pickled_and_forked(self):
        archive = llmc.open(self.path, threads=2)
        self.assertEqual(archive[10:20], self.big[10:20])
        self.assertEqual(pickle.loads(pickle.dumps(archive))[10:20], self.big[10:20])
        child = os.fork()
        if child == 0:
            os._exit(0 if archive[7_000:7_100] == self.big[7_000:7_100] else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


class Damage(Case):
    """Errors are exceptions, and never other bytes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text = b"".join(cls.put(f"in/{i}", text_of("code.txt", 1000, 1000 * i)) for i in range(8))
        cls.path = cls.compress("in", "good.set", "--codec", "zstd", "--chunk", "1000", "--shard", "4000", "--bare")

    def copy(self):
        bad = self.at("bad.set")
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(self.path, bad)
        return bad

    def test_a_flipped_bit_costs_its_chunk(self):
        bad = self.copy()
        row = run(PROGRAM, "list", "--chunks", "--json", os.path.join(bad, "shard-000000.h5"))
        at = [int(n) for n in re.findall(rb'"frame_offset":(\d+)', row)][2] + 40
        with open(os.path.join(bad, "shard-000000.h5"), "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1]))
        with llmc.open(bad) as archive:
            lost = 0
            for i, d in enumerate(d for d in archive.documents if d.kind == "file"):
                try:
                    self.assertEqual(d.read(), self.text[1000 * i : 1000 * i + 1000])
                except llmc.DamagedError as error:
                    lost += 1
                    self.assertIn("shard 0 chunk 2", str(error))
            self.assertEqual(lost, 1)
            with self.assertRaises(llmc.DamagedError):
                archive[:]
            with self.assertRaises(llmc.DamagedError) as caught:
                archive.verify()
            self.assertTrue(
                any("chunk 2" in line and "in/2" in line for line in caught.exception.findings), caught.exception
            )
        llmc.open(self.path).verify()

    def test_flips_anywhere(self):
        generator = random.Random(5)
        names = sorted(os.listdir(self.path))
        found = 0
        for _ in range(200):
            bad = self.copy()
            path = os.path.join(bad, generator.choice(names))
            with open(path, "r+b") as f:
                at = generator.randrange(os.path.getsize(path))
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ 1 << generator.randrange(8)]))
            try:
                with llmc.open(bad) as archive:
                    for begin in range(0, 8000, 1000):
                        try:
                            self.assertEqual(archive[begin : begin + 1000], self.text[begin : begin + 1000], (path, at))
                        except llmc.DamagedError:
                            found += 1
                    self.assertRaises(llmc.DamagedError, archive.verify)
            except llmc.Error:
                found += 1
        self.assertGreater(found, 100)

    def test_missing_and_cut(self):
        with self.assertRaises(llmc.MissingError) as caught:
            llmc.open(self.at("nowhere"))
        self.assertIn("nowhere", str(caught.exception))
        self.assertRaises(FileNotFoundError, lambda: llmc.open(self.at("nowhere")))
        self.assertRaises(llmc.DamagedError, lambda: llmc.open(self.at("in/0")))
        bad = self.copy()
        shard = os.path.join(bad, "shard-000001.h5")
        os.truncate(shard, os.path.getsize(shard) - 1)
        with llmc.open(bad) as archive:
            self.assertEqual(archive[:4000], self.text[:4000])
            self.assertRaises(llmc.DamagedError, lambda: archive[4000])
        os.remove(os.path.join(bad, "manifest.json"))
        self.assertRaises(llmc.MissingError, lambda: llmc.open(bad))


class Models(Case):
    """The model that an archive names, wherever it is; and no other."""

    def test_models(self):
        numpy = os.environ.get("LLMC_PYTHON") or sys.executable
        if subprocess.run([numpy, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("not run: no Python with numpy")
        os.makedirs(self.at("models"))
        model, other = self.at("models/m.model"), self.at("o.model")
        for path, seed in ((model, "1"), (other, "2")):
            run(
                numpy,
                os.path.join(ROOT, "tests/reference/make_model.py"),
                os.path.join(ROOT, "models/e0.safetensors"),
                path,
                seed,
                env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
            )
        text = self.put("in.txt", text_of("med.txt", 1200))
        bare = self.compress("in.txt", "bare.set", "--model", model, "--chunk", "600", "--codec", "range", "--bare")
        full = self.compress(
            "in.txt", "full.set", "--model", model, "--chunk", "600", "--codec", "range", "--with-model"
        )
        with llmc.open(bare) as archive:
            self.assertEqual(len(archive.documents), 1)  # needs no model
            if run(PROGRAM, "list", "--chunks", "--json", bare).count(b'"codec":"range"') == 0:
                self.fail("a chunk that the model coded is what this test is about")
            with self.assertRaises(llmc.ModelError) as caught:
                archive[:]
            self.assertIn(archive.model_sha256, str(caught.exception))
        self.assertEqual(llmc.open(bare, model=model)[:], text)
        self.assertEqual(llmc.open(full)[:], text)
        self.assertRaises(llmc.ModelError, lambda: llmc.open(bare, model=other)[:])
        self.assertRaises(llmc.ModelError, lambda: llmc.open(bare, model=self.at("nowhere"))[:])
        environment = dict(os.environ, LLMC_MODEL_PATH="/nowhere:" + self.at("models"))
        self.assertEqual(
            run(
                sys.executable,
                "-c",
                "import llmc, sys; sys.stdout.buffer.write(llmc.open(sys.argv[1])[:])",
                bare,
                env=environment,
            ),
            text,
        )


class Threads(Case):
    """Many threads on one archive; the GIL is free meanwhile; Ctrl-C ends a long call."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text = cls.put("in.txt", text_of("lcet10.txt", 24_000))
        cls.path = cls.compress("in.txt", "t.h5", "--chunk", "500", "--codec", "range")

    def test_many_at_once(self):
        archive, wrong = llmc.open(self.path, cache_bytes=4000), []

        def work(seed):
            generator = random.Random(seed)
            for _ in range(12):
                begin = generator.randrange(23_000)
                if archive[begin : begin + 700] != self.text[begin : begin + 700]:
                    wrong.append(begin)
                if archive.documents["in.txt"].size != 24_000:
                    wrong.append("size")

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_the_gil_is_free(self):
        archive, steps, done = llmc.open(self.path, threads=1), [0], threading.Event()

        def count():
            while not done.is_set():
                steps[0] += 1
                time.sleep(0.001)

        thread = threading.Thread(target=count)
        thread.start()
        before = steps[0]
        self.assertEqual(archive[:], self.text)
        after = steps[0]
        done.set()
        thread.join()
        self.assertGreater(after - before, 3)

    def test_interrupt(self):
        program = "import llmc, sys\na = llmc.open(sys.argv[1], threads=2, cache_bytes=0)\nprint('go', flush=True)\nwhile True: a[:]\n"
        child = subprocess.Popen(
            [sys.executable, "-c", program, self.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.assertEqual(child.stdout.readline(), b"go\n")
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        self.assertIn(b"KeyboardInterrupt", err)
        self.assertNotIn(b"ignored", err)

    def test_a_handler_of_the_callers_own(self):
        class Own(Exception):
            pass

        def handler(*_):
            raise Own

        archive = llmc.open(self.path, threads=1, cache_bytes=0)
        old = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with self.assertRaises(Own):
                while True:
                    archive[:]
        finally:
            signal.signal(signal.SIGALRM, old)


if __name__ == "__main__":
    main()
