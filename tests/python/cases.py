"""What the tests of the Python package share: a folder, files in it, and the program that makes archives of them."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ["LLMC_PROGRAM"]


def text_of(name, size, begin=0):
    with open(os.path.join(ROOT, "tests/data/text", name), "rb") as f:
        return f.read()[begin : begin + size]


def run(*words, **options):
    done = subprocess.run(list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        raise AssertionError(f"{words}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}")
    return done.stdout


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="llmc-python-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    @classmethod
    def at(cls, *names):
        return os.path.join(cls.dir, *names)

    @classmethod
    def put(cls, name, data):
        path = os.path.join(os.fsencode(cls.dir), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        return data

    @classmethod
    def compress(cls, source, out, *options):
        run(PROGRAM, "compress", source, "-o", out, "-q", *options, cwd=cls.dir)
        return cls.at(out)


def main():
    """Runs the class that is named. Exit 77: this machine cannot run it, the last line says why."""
    result = unittest.main(argv=[sys.argv[0], *sys.argv[1:], "-v"], exit=False).result
    for _, reason in result.skipped:
        print(reason)
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
