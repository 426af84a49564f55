// Job files, presets of machines, and what a run says of itself.
#include <nlohmann/json.hpp>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Jobs : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "texts/a.txt", cut("enwik6", 12000));
    spill(dir / "texts/b.md", cut("docs.txt", 8000));
    spill(dir / "texts/c.bin", noise(500, 1));
  }
  Outcome run(const std::string& job, const std::string& more = "", int ranks = 0) {
    const std::string mpi = ranks ? "mpirun --oversubscribe -n " + std::to_string(ranks) + " " : "";
    return shell("cd " + dir.path().string() + " && " + mpi + product() + " run " + job + " " + more);
  }
  std::string job(const std::string& lines) {
    spill(dir / "job.ini", lines);
    return dir / "job.ini";
  }
  const TempDir dir;
};

TEST_F(Jobs, PlansCompressesAndChecks) {
  const std::string file = job("# a comment\ninput = texts\noutput = set\ninclude = *.txt\ninclude = *.md\nchunk = 4K\n\ncheck = data\n");
  const Outcome made = run(file, "-q");
  EXPECT_EXIT_CODE(made, 0);
  EXPECT_NE(made.out.find("SHA-256 of 2 files compared; sound"), std::string::npos) << made.out;
  EXPECT_EXIT_CODE(run(file, "-q"), 0) << "a finished job is success";
  ASSERT_EXIT_CODE(shell("cd " + dir.path().string() + " && " + product() + " compress texts -o other --include '*.txt' --include '*.md' --chunk 4K -q"), 0);
  expect_same(dir / "set", dir / "other");
}

TEST_F(Jobs, UnderMpirunWithAMachinesPreset) {
  const std::string file = job("input = texts\noutput = set\nchunk = 4K\ncheck = data\n");
  const Outcome made = run(file, "--config " + quoted(LLMC_SOURCE_DIR "/configs/cpu-node.ini"), 3);
  EXPECT_EXIT_CODE(made, 0);
  EXPECT_NE(made.out.find("sound"), std::string::npos) << made.out;
}

TEST_F(Jobs, ADryRunEstimatesAndWritesNothing) {
  const Outcome dry = run(job("input = texts\noutput = set\nchunk = 4K\nshard = 8K\n"), "--dry-run");
  EXPECT_EXIT_CODE(dry, 0);
  for (const char* words : {"3 files, 1 folders, 0 links", "20500 bytes", " shards, ", "bits per byte", "archive: about", "time:    about"}) {
    EXPECT_NE(dry.out.find(words), std::string::npos) << words << "\n" << dry.out;
  }
  EXPECT_FALSE(fs::exists(dir / "set"));
  EXPECT_EXIT_CODE(run(dir / "job.ini", "--dry-run", 2), 0);
  // The estimate is one of this archive's size.
  ASSERT_EXIT_CODE(run(dir / "job.ini", "-q --bare"), 0);
  double about = 0;
  ASSERT_EQ(std::sscanf(dry.out.c_str() + dry.out.find("archive: about"), "archive: about %lf KiB", &about), 1) << dry.out;
  double real = 0;
  for (const auto& item : fs::directory_iterator(dir / "set")) real += static_cast<double>(item.file_size());
  EXPECT_NEAR(about * 1024 / real, 1, 0.35) << dry.out << real;
}

TEST_F(Jobs, ErrorsNameFileAndLine) {
  const auto wrong = [&](const std::string& lines, const std::string& where, const std::string& what) {
    const Outcome refused = run(job(lines));
    EXPECT_EXIT_CODE(refused, 2);
    EXPECT_NE(refused.err.find("job.ini" + where), std::string::npos) << lines << refused.err;
    EXPECT_NE(refused.err.find(what), std::string::npos) << lines << refused.err;
    EXPECT_FALSE(fs::exists(dir / "set"));
  };
  const std::string good = "input = texts\noutput = set\n";
  wrong(good + "chnk = 4K\n", ":3:", "did you mean 'chunk'");
  wrong(good + "chunk = many\n", ":3:", "not a size");
  wrong(good + "chunk = 4K\nchunk = 8K\n", ":4:", "line 3");
  wrong(good + "resume = perhaps\n", ":3:", "resume");
  wrong(good + "\n\n[compress]\n", ":5:", "sections");
  wrong(good + "chunk\n", ":3:", "name = value");
  wrong(good + "config = x\n", ":3:", "command line");
  EXPECT_EXIT_CODE(run(job("output = set\n")), 2);
  EXPECT_EXIT_CODE(run(job("input = texts\n")), 2);
  EXPECT_EXIT_CODE(run("none.ini"), 2);
  EXPECT_EXIT_CODE(run(""), 2);
  EXPECT_EXIT_CODE(run(job(good + "codec = magic\n")), 2);
}

// Every file that comes with the product is read, and its job made, by a dry run over inputs of its own.
TEST_F(Jobs, TheFilesThatComeWithUsAreRight) {
  int jobs = 0, configs = 0;
  for (const char* folder : {"texts", "corpus", "crawl", "src"}) {
    spill(dir / (std::string(folder) + "/a.txt"), cut("tldr.txt", 3000));
    spill(dir / (std::string(folder) + "/b.jsonl"), "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    spill(dir / (std::string(folder) + "/c.warc"), "WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Record-ID: <urn:x>\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n");
  }
  for (const auto& item : fs::directory_iterator(LLMC_SOURCE_DIR "/jobs")) {
    if (item.path().extension() != ".ini") continue;
    EXPECT_EXIT_CODE(run(quoted(item.path().string()), "--dry-run"), 0) << item.path();
    EXPECT_NE(slurp(LLMC_SOURCE_DIR "/jobs/README.md").find("(" + item.path().filename().string() + ")"), std::string::npos) << item.path();
    ++jobs;
  }
  for (const auto& item : fs::directory_iterator(LLMC_SOURCE_DIR "/configs")) {
    // What this machine may lack is asked for on the command line.
    const std::string config = " --engine native --config " + quoted(item.path().string());
    const std::string out = dir / item.path().stem().string();
    EXPECT_EXIT_CODE(llmc("compress " + (dir / "texts/a.txt") + " -q -o " + out + config), 0) << item.path();
    EXPECT_EXIT_CODE(llmc("extract " + out + " -q -o " + out + ".out" + config), 0) << item.path();
    EXPECT_EXIT_CODE(llmc("verify " + out + " -q --data" + config), 0) << item.path();
    ++configs;
  }
  EXPECT_EQ(jobs, 4);
  EXPECT_EQ(configs, 4);
}

TEST_F(Jobs, ARunReportsOnItself) {
  const std::string words = " -q --status-file " + (dir / "status.json") + " --report " + (dir / "report.html");
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "texts") + " -o " + (dir / "set") + " --chunk 2K --shard 8K --verify all" + words, 3), 0);
  const json status = json::parse(slurp(dir / "status.json"));
  EXPECT_EQ(status["state"], "done");
  EXPECT_EQ(status["chunks_done"], status["chunks_total"]);
  EXPECT_EQ(status["bytes_total"], 20500);
  EXPECT_EQ(status["workers"].size(), 2u);
  const json report = json::parse(slurp(dir / "report.json"));
  EXPECT_EQ(report["outcome"], "done");
  uint64_t by_kind = 0, by_shard = 0, by_worker = 0;
  for (const json& row : report["kinds"]) by_kind += row["bytes"].get<uint64_t>();
  for (const json& row : report["shards"]) by_shard += row["bytes"].get<uint64_t>();
  for (const json& row : report["workers"]) {
    by_worker += row["chunks"].get<uint64_t>();
    EXPECT_GT(row["busy_seconds"], 0.0);
    EXPECT_LE(row["busy_seconds"], report["seconds"]);
  }
  EXPECT_NE(report["environment"]["command"].get<std::string>().find("--chunk 2K"), std::string::npos);
  EXPECT_NE(report["environment"]["model"].get<std::string>().find("sha256"), std::string::npos);
  EXPECT_EQ(by_kind, 20500u);
  EXPECT_EQ(by_shard, 20500u);
  EXPECT_EQ(by_worker, 2 * status["chunks_total"].get<uint64_t>()) << "each is coded and checked";
  EXPECT_FALSE(report["slowest"].empty());
  const std::string page = slurp(dir / "report.html");
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0u);
  EXPECT_EQ(page.find("src="), std::string::npos) << "nothing is loaded from elsewhere";
  EXPECT_EQ(page.find("href="), std::string::npos);
  EXPECT_NE(page.find(".md"), std::string::npos);
  // Decoding, and a run that does not end well.
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + words), 0);
  EXPECT_EQ(json::parse(slurp(dir / "status.json"))["verb"], "extract");
  const Outcome failed = shell("LLMC_FAULT=dispatch.result:1:error " + product() + " compress " + (dir / "texts") + " -o " + (dir / "x") + words);
  EXPECT_EXIT_CODE(failed, 1);
  EXPECT_EQ(json::parse(slurp(dir / "status.json"))["state"], "failed");
  EXPECT_EQ(json::parse(slurp(dir / "status.json"))["exit_code"], 1);
  EXPECT_NE(slurp(dir / "report.html").find("injected"), std::string::npos);
  EXPECT_EXIT_CODE(llmc("compress " + (dir / "texts") + " -o " + (dir / "y") + " --report r.txt"), 2);
  // Where an earlier run has done it all, this too is said: batch scripts go by it.
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "texts") + " -o " + (dir / "set") + " --chunk 2K --shard 8K --verify all --resume" + words), 0);
  const json finished = json::parse(slurp(dir / "status.json"));
  EXPECT_EQ(finished["state"], "done");
  EXPECT_EQ(finished["verb"], "compress");
  EXPECT_EQ(finished["chunks_done"], status["chunks_total"]);
  EXPECT_EQ(json::parse(slurp(dir / "report.json"))["verb"], "compress");
  EXPECT_NE(json::parse(slurp(dir / "report.json"))["outcome"], "done") << "the report of the run that computed last stays";
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --resume" + words), 0);
  EXPECT_EQ(json::parse(slurp(dir / "status.json"))["verb"], "extract");
  EXPECT_EQ(json::parse(slurp(dir / "status.json"))["state"], "done");
}

// "done" is said when the archive stands, not when its chunks are computed; and by every verb that takes a status file.
TEST_F(Jobs, TheStatusFileHasTheLastWord) {
  const std::string file = dir / "status.json", words = " -q --status-file " + file;
  const auto state = [&] { return json::parse(slurp(file))["state"].get<std::string>(); };
  const std::string command = "compress " + (dir / "texts") + " -o " + (dir / "set") + " --codec zstd" + words;
  EXPECT_EXIT_CODE(shell("LLMC_FAULT=archive.manifest:1:kill " + product() + " " + command), 137);
  EXPECT_EQ(state(), "finishing");
  EXPECT_EXIT_CODE(shell("LLMC_FAULT=archive.manifest:1:error " + product() + " " + command), 1);
  EXPECT_EQ(state(), "failed");
  EXPECT_NE(json::parse(slurp(file))["message"].get<std::string>().find("injected"), std::string::npos);
  EXPECT_EXIT_CODE(llmc(command), 0);
  EXPECT_EQ(state(), "done");
  EXPECT_EQ(json::parse(slurp(file))["bytes_done"], 20500);
  const auto said = [&](const std::string& verb, int code, const std::string& what) {
    EXPECT_EXIT_CODE(llmc(verb + words), code) << verb;
    EXPECT_EQ(state(), what) << verb;
    EXPECT_EQ(json::parse(slurp(file))["exit_code"], code) << verb;
    EXPECT_FALSE(json::parse(slurp(file)).contains("bytes_done")) << "of an earlier run";
  };
  said("append " + (dir / "texts") + " -o " + (dir / "set") + " --existing skip", 0, "done");
  said("verify " + (dir / "set"), 0, "done");
  fs::resize_file(dir / "set/shard-000000.h5", 700);
  said("verify " + (dir / "set"), 20, "failed");
  fs::create_directory(dir / "none");
  said("salvage " + (dir / "none") + " -o " + (dir / "won"), 20, "failed");
  // A look ahead is no run.
  fs::remove(file);
  EXPECT_EXIT_CODE(llmc("compress " + (dir / "texts") + " -o " + (dir / "other") + " --dry-run" + words), 0);
  EXPECT_FALSE(fs::exists(file));
}

}  // namespace
}  // namespace llmc::test
