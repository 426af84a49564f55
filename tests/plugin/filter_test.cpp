// Other programs over libhdf5 read archives through the filter, and write through it.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include "reference/python.h"

namespace llmc::test {
namespace {

const std::string kPlugin = LLMC_BINARY_DIR "/plugin";

std::string product() { return quoted(LLMC_BINARY_DIR "/llmc-batch"); }
// LLMC_PRELOAD: what programs without AddressSanitizer need to load a plugin with it.
std::string with_plugin() { return "HDF5_PLUGIN_PATH=" + quoted(kPlugin) + " " LLMC_PRELOAD; }

// A text, and the archive of it: two whole chunks and a part of one, with the codec given.
struct Sample {
  explicit Sample(const std::string& codec) {
    text = slurp(repository("tests/data/text/alice29.txt")).substr(5000, 1300);
    spill(dir / "in.txt", text);
    const Outcome made = shell(product() + " compress " + quoted(dir / "in.txt") + " -o " + quoted(dir / "x.h5") +
                               " --quiet" + (codec.find("--chunk") == codec.npos ? " --chunk 600" : "") + " --codec " + codec);
    EXPECT_EQ(made.code, 0) << made.err;
  }
  TempDir dir;
  std::string text;
};

Outcome python(const Sample& sample, const std::string& python, const std::string& program, const std::string& environment = "") {
  spill(sample.dir / "t.py", "import sys, h5py, numpy\npath = sys.argv[1]\n" + program);
  return shell(with_plugin() + environment + " " + python + " " + quoted(sample.dir / "t.py") + " " + quoted(sample.dir / "x.h5"));
}

// Both h5pys that people have: PyPI's with a libhdf5 of its own, in the environment that LLMC_PYTHON names, and Debian's over the
// system's. "" where this machine lacks it.
const char* const pypi = "PyPI";
const char* const debian = "Debian";
std::string h5py_of(const std::string& kind) {
  const char* const from_environment = std::getenv("LLMC_PYTHON");
  const std::string named = from_environment ? from_environment : LLMC_PYTHON;
  for (const std::string& python : {named, std::string("/usr/bin/python3"), std::string("python3")}) {
    if (python.empty()) continue;
    const Outcome where = shell(quoted(python) + " -c 'import h5py; print(h5py.__file__)'");
    const bool of_debian = where.out.find("/dist-packages/") != std::string::npos;
    if (where.code == 0 && of_debian == (kind == debian)) return quoted(python) + " -B";
  }
  return "";
}

class Filter : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    h5py = h5py_of(GetParam());
    if (h5py.empty()) {
      GTEST_SKIP() << "not run: no h5py of " << GetParam()
                   << (GetParam() == pypi ? "'s (LLMC_PYTHON names no such Python; tools/setup.sh makes one)" : "'s (the package python3-h5py is missing)");
    }
  }
  std::string h5py;
};
INSTANTIATE_TEST_SUITE_P(H5py, Filter, testing::Values(pypi, debian), [](const auto& info) { return std::string(info.param); });

TEST_P(Filter, ReadsText) {
  for (const std::string codec : {"mix", "range", "rank", "zstd", "stored"}) {
    const Sample sample(codec);
    const Outcome outcome = python(sample, h5py,
                                   "t = h5py.File(path, 'r')['text']\n"
                                   "assert t[:].tobytes() == open(sys.argv[1][:-4] + 'in.txt', 'rb').read()\n"
                                   "sys.stdout.buffer.write(t[590:610].tobytes())\n");
    EXPECT_EQ(outcome.code, 0) << codec << ": " << outcome.err;
    EXPECT_EQ(outcome.out, sample.text.substr(590, 20)) << codec;
  }
}

// A filter is told a dictionary's digest and no file: it finds the archive among those that the program has open.
TEST_P(Filter, FindsTheDictionaryOfAShard) {
  const Sample sample("mix --dictionary 1K --chunk 300");
  const std::string read = "f = h5py.File(path, 'r', **how)\n"
                           "assert f['text'].id.get_create_plist().get_filter(0)[2][0] == 2\n"
                           "assert f['text'].id.read_direct_chunk((0,))[1][5] == 5\n"
                           "sys.stdout.buffer.write(f['text'][590:610].tobytes())\n";
  Outcome outcome = python(sample, h5py, "how = {}\n" + read);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, sample.text.substr(590, 20));
  // A file in memory has no descriptor.
  const std::string in_memory = "import io\npath = io.BytesIO(open(path, 'rb').read())\nhow = {}\n";
  outcome = python(sample, h5py, in_memory + read);
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.err.find("llmc-batch extract"), std::string::npos) << outcome.err;
  outcome = python(sample, h5py, in_memory + read, "LLMC_DICTIONARY_PATH=" + quoted(sample.dir.path().string()));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, sample.text.substr(590, 20));
  // Its bytes alone do as well.
  outcome = python(sample, h5py, "open(path[:-4] + 'bytes', 'wb').write(h5py.File(path)['dictionary'][:].tobytes())\n" + in_memory + read,
                   "LLMC_DICTIONARY_PATH=" + quoted(sample.dir / "bytes"));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, sample.text.substr(590, 20));
  // Another's dictionary is none.
  outcome = python(sample, h5py, "d = h5py.File(path)['dictionary'][:]\nd[40] ^= 1\nopen(path[:-4] + 'bytes', 'wb').write(d.tobytes())\n" +
                                     in_memory + read, "LLMC_DICTIONARY_PATH=" + quoted(sample.dir / "bytes"));
  EXPECT_NE(outcome.code, 0);
}

// Nor is it told what the model is adapted with.
TEST_P(Filter, FindsTheAdaptation) {
  const TempDir kept;
  spill(kept / "sample", slurp(repository("tests/data/text/alice29.txt")).substr(30000, 17000));
  const Outcome fitted = shell(product() + " model adapt " + quoted(kept / "sample") + " -o " + quoted(kept / "fit"));
  ASSERT_EQ(fitted.code, 0) << fitted.err;
  const Sample sample("range --adapt " + quoted(kept / "fit"));
  const std::string read = "f = h5py.File(path, 'r')\n"
                           "assert f['text'].id.read_direct_chunk((0,))[1][5] == 2\n"
                           "sys.stdout.buffer.write(f['text'][590:610].tobytes())\n";
  Outcome outcome = python(sample, h5py, read);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, sample.text.substr(590, 20));
  const std::string in_memory = "import io\npath = io.BytesIO(open(path, 'rb').read())\n";
  outcome = python(sample, h5py, in_memory + read);
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.err.find("adaptation of SHA-256"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("LLMC_ADAPTATION_PATH"), std::string::npos) << outcome.err;
  for (const std::string& where : {sample.dir.path().string(), std::string(kept / "fit")}) {
    outcome = python(sample, h5py, in_memory + read, "LLMC_ADAPTATION_PATH=" + quoted(where));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, sample.text.substr(590, 20));
  }
}

TEST_P(Filter, WritesText) {
  const Sample sample("mix");
  // The filter's values as they stand in an archive; the last chunk is partly filled.
  const Outcome outcome = python(sample, h5py, R"(
plist = h5py.File(path, 'r')['text'].id.get_create_plist()
code, flags, values, name = plist.get_filter(0)
assert code == 51773 and name == b'llmc-batch', (code, name)
text = numpy.frombuffer(open(path[:-4] + 'in.txt', 'rb').read()[:1000], 'u1')
with h5py.File(path + '.new', 'w') as f:
    t = f.create_dataset('mine', data=text, chunks=(600,), compression=51773, compression_opts=values)
    assert t.id.get_storage_size() < 700, t.id.get_storage_size()
with h5py.File(path + '.new', 'r') as f:
    assert f['mine'][:].tobytes() == text.tobytes()
    frame = f['mine'].id.read_direct_chunk((0,))[1]
    assert frame[8:12] == b'\xff\xff\xff\xff', frame[:32]
print('h5py', h5py.version.version, 'HDF5', h5py.version.hdf5_version, 'wrote and read')
)");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  std::printf("%s: %s", GetParam(), outcome.out.c_str());
  // The other one reads what this one wrote.
  const std::string other = h5py_of(GetParam() == pypi ? debian : pypi);
  if (other.empty()) return;
  const Outcome read = python(sample, other, "sys.stdout.buffer.write(h5py.File(path + '.new', 'r')['mine'][:].tobytes())\n");
  EXPECT_EQ(read.code, 0) << read.err;
  EXPECT_TRUE(read.out == sample.text.substr(0, 1000));
}

// 100 bytes from the end of a chunk of 64 KiB, all of which is decoded for them: what that costs here is printed, not judged.
TEST_P(Filter, AHundredBytesWithTheEmbeddedModel) {
  const TempDir dir;
  const std::string text = slurp(repository("tests/data/text/alice29.txt")).substr(0, 65536);
  spill(dir / "in.txt", text);
  const Outcome made = shell(product() + " compress " + quoted(dir / "in.txt") + " -o " + quoted(dir / "x.h5") + " --quiet --verify none");
  ASSERT_EQ(made.code, 0) << made.err;
  const auto measure = [&](const char* how, const std::string& command) {
    const auto cpu = [] {
      struct rusage use = {};
      ::getrusage(RUSAGE_CHILDREN, &use);
      return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    };
    const double before = cpu();
    const Outcome outcome = shell(command);
    std::printf("tally: 100 bytes with the embedded model, %s: %.2f CPU seconds\n", how, cpu() - before);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, text.substr(65400, 100)) << how;
  };
  spill(dir / "t.py", "import sys, h5py\nsys.stdout.buffer.write(h5py.File(sys.argv[1], 'r')['text'][65400:65500].tobytes())\n");
  measure((std::string("h5py of ") + GetParam()).c_str(), with_plugin() + h5py + " " + quoted(dir / "t.py") + " " + quoted(dir / "x.h5"));
  if (GetParam() == pypi) measure("extract --range", product() + " extract " + quoted(dir / "x.h5") + " -o - -q --range 65400:65500");
}

TEST_P(Filter, DamageIsAnErrorAndNeverOtherBytes) {
  const Sample sample("range");
  const Outcome outcome = python(sample, h5py, R"(
f = h5py.File(path, 'r')
plist = f['text'].id.get_create_plist()
frame = bytearray(f['text'].id.read_direct_chunk((0,))[1])
values = plist.get_filter(0)[2]
def attempt(name, frame, values):
    with h5py.File(path + '.' + name, 'w') as g:
        t = g.create_dataset('t', (600,), 'u1', chunks=(600,), compression=51773, compression_opts=values)
        t.id.write_direct_chunk((0,), bytes(frame))
    with h5py.File(path + '.' + name, 'r') as g:
        try:
            return g['t'][:].tobytes()
        except OSError:
            return None
assert attempt('whole', frame, values) == f['text'][:600].tobytes()
for at in range(0, len(frame), 37):
    broken = bytearray(frame)
    broken[at] ^= 4
    assert attempt('flip%d' % at, broken, values) is None, at
assert attempt('cut', frame[:-1], values) is None
for at in (0, 2, 5, 11, 12):
    wrong = list(values)
    wrong[at] ^= 1 << 20
    assert attempt('value%d' % at, frame, tuple(wrong)) is None, at
assert attempt('none', frame, tuple(values[:4])) is None
)");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("LLMC_MODEL_PATH"), std::string::npos) << outcome.err;
}

TEST(FilterAlone, ToolsOfHdf5ReadAndRewrite) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "not run: with AddressSanitizer these programs wait for ever at their exit, in libp11-kit";
#endif
  if (shell("command -v h5dump && command -v h5repack").code != 0) GTEST_SKIP() << "not run: no h5dump and h5repack";
  const Sample sample("mix");
  const std::string archive = quoted(sample.dir / "x.h5");
  auto dump = [&](const std::string& environment, const std::string& file) {
    const Outcome outcome = shell(environment + "h5dump -d /text -b LE -o " + quoted(sample.dir / "out.bin") + " " + quoted(file));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return slurp(sample.dir / "out.bin");
  };
  EXPECT_TRUE(dump(with_plugin(), sample.dir / "x.h5") == sample.text);
  Outcome outcome = shell(with_plugin() + "h5repack -f NONE " + archive + " " + quoted(sample.dir / "plain.h5"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(dump("HDF5_PLUGIN_PATH=/nowhere ", sample.dir / "plain.h5") == sample.text);
  outcome = shell(with_plugin() + "h5repack " + archive + " " + quoted(sample.dir / "again.h5"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(dump(with_plugin(), sample.dir / "again.h5") == sample.text);
}

TEST(FilterAlone, CallsNoFunctionOfLibhdf5) {
  const Outcome outcome = shell(quoted(LLMC_NM) + " -D " + quoted(kPlugin + "/libllmc_hdf5_filter.so"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find(" U H5"), std::string::npos);
  EXPECT_NE(outcome.out.find(" T H5PLget_plugin_info"), std::string::npos);
  // Nothing else is offered to the program that opens it.
  EXPECT_EQ(outcome.out.find("_ZN4llmc"), std::string::npos);
}

}  // namespace
}  // namespace llmc::test
