// Damage of every kind through the built program: named, never passed on, and undone where there is parity.
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

bool long_tier() { return std::getenv("LLMC_LONG") != nullptr; }

// What damage costs: the exit code of extract, the files that do not come out, and what is said of it.
struct Toll {
  int code = 0;
  std::set<std::string> lost;
  std::vector<std::string> extract_says, verify_says;
};

enum class Region { frame, block, index, hdf5, manifest };

// A small set of two shards whose files share chunks, and what it was made of.
class DamagedSet : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 9; ++i) {
      const std::string name = "f" + std::to_string(i) + ".txt";
      files_[name] = cut(i % 2 ? "code.txt" : "law.txt", 700 + 450 * static_cast<size_t>(i));
      spill(dir_ / ("in/" + name), files_[name]);
    }
    make("good", "--codec zstd");
    survey("good");
  }
  void make(const std::string& out, const std::string& options) {
    const bool set = !out.ends_with(".h5");
    const std::string cut_in = !set ? "" : options.find("--shard") == std::string::npos ? "--bare --shard 12K " : "--bare ";
    ASSERT_EXIT_CODE(shell("cd " + dir_.path().string() + " && " + product() + " compress in -o " + out + " --chunk 1K -q " + cut_in + options), 0);
  }
  // From now on "good" is an archive made with other options; `file`: a single one, good/one.h5.
  void make_anew(const std::string& options, bool file = false) {
    fs::remove_all(dir_ / "good");
    if (file) fs::create_directory(dir_ / "good");
    make(file ? "good/one.h5" : "good", options);
    survey(file ? "good/one.h5" : "good");
  }
  void fresh() {
    fs::remove_all(dir_ / "set");
    fs::copy(dir_ / "good", dir_ / "set");
  }
  std::vector<std::string> members() const {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(dir_ / "good")) names.push_back(item.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  // Where the frames of the sound archive stand, and which documents have text in each.
  struct PlacedFrame {
    uint32_t shard = 0, chunk = 0;
    size_t begin = 0, end = 0;  // in the shard's file
    std::set<std::string> documents;
  };
  static std::vector<nlohmann::json> rows(const Outcome& listing) {
    EXPECT_EXIT_CODE(listing, 0);
    std::vector<nlohmann::json> all;
    std::istringstream lines(listing.out);
    for (std::string line; std::getline(lines, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  void survey(const std::string& archive) {
    archive_ = archive == "good" ? "set" : "set" + archive.substr(4);
    frames_.clear();
    entries_.clear();
    const auto documents = rows(llmc("list --documents --json " + (dir_ / archive)));
    ASSERT_EQ(documents.size(), files_.size());
    for (const auto& row : rows(llmc("list --chunks --json " + (dir_ / archive)))) {
      PlacedFrame frame{row["shard"], row["chunk"], row["frame_offset"], 0, {}};
      frame.end = frame.begin + row["frame_bytes"].get<size_t>();
      const size_t text = row["text_offset"], text_end = text + row["text_bytes"].get<size_t>();
      size_t at = 0;
      for (const auto& document : documents) {
        const size_t end = at + document["size"].get<size_t>();
        if (at < text_end && end > text) frame.documents.insert(document["name"].get<std::string>().substr(3));
        at = end;
      }
      ASSERT_FALSE(frame.documents.empty());
      frames_.push_back(frame);
    }
    if (archive_ != "set") return;
    const auto manifest = nlohmann::json::parse(slurp(dir_ / "good/manifest.json"));
    for (const auto& row : manifest["shards"]) entries_.push_back(row["entries"]);
    ASSERT_GE(entries_.size(), 2u);
  }
  std::set<std::string> all_files() const {
    std::set<std::string> names;
    for (const auto& [name, text] : files_) names.insert(name);
    return names;
  }
  static uint32_t shard_of(const std::string& member) { return member == "one.h5" ? 0 : static_cast<uint32_t>(std::stoul(member.substr(6, 6))); }
  Region region(const std::string& member, size_t at) const {
    if (member == "manifest.json") return Region::manifest;
    if (at < 512) return Region::block;
    const size_t index = number_at(dir_ / ("good/" + member), 64, 8);
    if (at >= index && at < index + number_at(dir_ / ("good/" + member), 72, 8)) return Region::index;
    return frame_at(member, at) ? Region::frame : Region::hdf5;
  }
  const PlacedFrame* frame_at(const std::string& member, size_t at) const {
    for (const PlacedFrame& f : frames_) {
      if (f.shard == shard_of(member) && at >= f.begin && at < f.end) return &f;
    }
    return nullptr;
  }

  // As docs/FORMAT.md, section 9, and docs/OPERATIONS.md, "Recovery", promise.
  Toll of_frame(const PlacedFrame& f) const {
    const std::string file = archive_ == "set" ? "shard-00000" + std::to_string(f.shard) + ".h5" : "one.h5";
    Toll toll{3, f.documents, {}, {}};
    toll.extract_says = {"shard " + std::to_string(f.shard) + " chunk " + std::to_string(f.chunk) + ": ",
                         std::to_string(f.documents.size()) + " documents could not be given back whole"};
    std::string names;
    for (const std::string& name : f.documents) {
      toll.extract_says.push_back("in/" + name + ": not given back");
      names += (names.empty() ? "" : ", ") + ("in/" + name);
    }
    toll.verify_says = {file + ", shard " + std::to_string(f.shard) + ", chunk " + std::to_string(f.chunk) + ": ", "; lost with it: " + names + "\n"};
    return toll;
  }
  Toll of_shard(uint32_t shard) const {
    if (archive_ != "set") return {20, all_files(), {"one.h5"}, {"one.h5"}};
    const std::string file = "shard-00000" + std::to_string(shard) + ".h5";
    Toll toll{3, {}, {file, "lost with it: " + std::to_string(entries_[shard]) + " entries"}, {file + ", shard " + std::to_string(shard) + ": "}};
    for (const PlacedFrame& f : frames_) {
      if (f.shard == shard) toll.lost.insert(f.documents.begin(), f.documents.end());
    }
    return toll;
  }
  Toll toll_of(const std::string& member, size_t at) const {
    switch (region(member, at)) {
      case Region::manifest: return {20, all_files(), {"manifest.json"}, {"manifest.json"}};
      case Region::frame: return of_frame(*frame_at(member, at));
      case Region::hdf5: return {0, {}, {}, {member, "bytes outside of the frames and the index have changed"}};
      default: return of_shard(shard_of(member));
    }
  }
  static Toll together(Toll a, const Toll& b) {
    a.lost.insert(b.lost.begin(), b.lost.end());
    for (const std::string& words : b.extract_says) {
      if (words.find("could not be given back whole") == std::string::npos) a.extract_says.push_back(words);
    }
    std::erase_if(a.extract_says, [](const std::string& words) { return words.find("could not be given back whole") != std::string::npos; });
    a.verify_says.insert(a.verify_says.end(), b.verify_says.begin(), b.verify_says.end());
    return a;
  }

  // The files of dir_/out below in/: each right to the byte. Those that are not there.
  std::set<std::string> missing(const std::string& what) {
    std::set<std::string> lost;
    size_t there = 0;
    for (const auto& [name, text] : files_) {
      const std::string path = dir_ / ("out/in/" + name);
      if (!fs::exists(path)) lost.insert(name);
      else if (++there, slurp(path) != text) ADD_FAILURE() << what << ": " << name << " came out wrong";
    }
    size_t all = 0;
    if (fs::exists(dir_ / "out")) {
      for (const auto& item : fs::recursive_directory_iterator(dir_ / "out")) all += item.is_regular_file();
    }
    EXPECT_EQ(all, there) << what << ": files that are none of the archive's";
    return lost;
  }
  // verify finds the damage and says where; extract gives back all other documents, exits as documented and lists what is lost.
  void expect_toll(const std::string& what, const Toll& toll, int ranks = 0) {
    const Outcome verify = llmc("verify " + (dir_ / archive_), ranks);
    EXPECT_EXIT_CODE(verify, 20) << what;
    for (const std::string& words : toll.verify_says) EXPECT_NE(verify.out.find(words), std::string::npos) << what << ": verify does not say " << words << explain(verify);
    fs::remove_all(dir_ / "out");
    const Outcome outcome = llmc("extract " + (dir_ / archive_) + " -o " + (dir_ / "out"), ranks);
    EXPECT_EXIT_CODE(outcome, toll.code) << what;
    EXPECT_EQ(missing(what), toll.lost) << what << "\n" << explain(outcome);
    for (const std::string& words : toll.extract_says) EXPECT_NE(outcome.err.find(words), std::string::npos) << what << ": extract does not say " << words << explain(outcome);
  }
  // Without its manifest a set costs nothing: shards can be opened by name.
  void expect_shards_by_name(const std::string& what) {
    fs::remove_all(dir_ / "out");
    for (size_t s = 0; s < entries_.size(); ++s) {
      EXPECT_EXIT_CODE(llmc("extract " + (dir_ / ("set/shard-00000" + std::to_string(s) + ".h5")) + " -o " + (dir_ / "out")), 0) << what;
    }
    EXPECT_EQ(missing(what), std::set<std::string>()) << what;
  }
  // Bits flipped in every kind of place first, then anywhere.
  void flip_bits(int rounds, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::map<Region, int> flips;
    size_t lost = 0;
    for (int i = 0; i < rounds; ++i) {
      for (const std::string& name : members()) {
        fresh();
        std::string bytes = slurp(dir_ / ("set/" + name));
        constexpr Region in_turn[] = {Region::frame, Region::block, Region::index, Region::hdf5};
        size_t at = random() % bytes.size();
        while (i < 8 && name != "manifest.json" && region(name, at) != in_turn[i % 4]) at = random() % bytes.size();
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << (random() % 8));
        spill(dir_ / ("set/" + name), bytes);
        const std::string what = name + " byte " + std::to_string(at);
        const Toll toll = toll_of(name, at);
        expect_toll(what, toll);
        if (name == "manifest.json" && i < 4) expect_shards_by_name(what);
        lost += name == "manifest.json" ? 0 : toll.lost.size();
        ++flips[region(name, at)];
        if (HasFailure()) return;
      }
    }
    for (const Region each : {Region::frame, Region::block, Region::index, Region::hdf5}) EXPECT_GE(flips[each], 2);
    std::printf("tally: %d flips in frames, %d in user blocks, %d in indexes, %d in HDF5's own bytes, %d in manifests: all found by verify, "
                "%zu documents lost and named, all others given back, no wrong byte\n",
                flips[Region::frame], flips[Region::block], flips[Region::index], flips[Region::hdf5], flips[Region::manifest], lost);
  }
  const TempDir dir_;
  std::map<std::string, std::string> files_;
  std::string archive_;                 // what is damaged: "set", or the single file in it
  std::vector<PlacedFrame> frames_;
  std::vector<uint64_t> entries_;       // of each shard
};

TEST_F(DamagedSet, FlippedBits) { flip_bits(long_tier() ? 1000 : 12, 11); }

TEST_F(DamagedSet, FlippedBitsInASingleFile) {
  make_anew("--codec zstd", true);
  flip_bits(long_tier() ? 1000 : 16, 13);
}

TEST_F(DamagedSet, CutAtEvery512Bytes) {
  int cuts = 0;
  for (const std::string& name : members()) {
    const std::string bytes = slurp(dir_ / ("good/" + name));
    for (size_t size = 0; size < bytes.size(); size += long_tier() ? 512 : 4096, ++cuts) {
      fresh();
      spill(dir_ / ("set/" + name), bytes.substr(0, size));
      // A file that was cut off is refused by its length, wherever the cut is.
      expect_toll(name + " cut to " + std::to_string(size), toll_of(name, 0));
    }
  }
  EXPECT_GE(cuts, 5);
  std::printf("tally: %d cuts\n", cuts);
}

TEST_F(DamagedSet, SwappedFrames) {
  make_anew("--codec stored");  // whole chunks have frames of one length
  const auto frame = [&](uint32_t shard, uint32_t chunk) {
    for (const PlacedFrame& f : frames_) {
      if (f.shard == shard && f.chunk == chunk) return f;
    }
    ADD_FAILURE() << "no chunk " << chunk << " in shard " << shard;
    return PlacedFrame();
  };
  int swaps = 0;
  // Of one shard; and of two shards, in each the other's frame of the same number.
  for (const auto& [a, b] : {std::pair(frame(0, 1), frame(0, 5)), std::pair(frame(0, 2), frame(1, 2))}) {
    ASSERT_EQ(a.end - a.begin, b.end - b.begin);
    ASSERT_NE(a.documents, b.documents);
    for (const int ranks : {0, 3}) {
      if (ranks > 0 && a.shard != b.shard) continue;
      fresh();
      const std::string first = dir_ / ("set/shard-00000" + std::to_string(a.shard) + ".h5"), second = dir_ / ("set/shard-00000" + std::to_string(b.shard) + ".h5");
      const std::string one = slurp(first).substr(a.begin, a.end - a.begin), other = slurp(second).substr(b.begin, b.end - b.begin);
      ASSERT_NE(one, other);
      spill(first, slurp(first).replace(a.begin, other.size(), other));
      spill(second, slurp(second).replace(b.begin, one.size(), one));
      expect_toll("chunks " + std::to_string(a.chunk) + " and " + std::to_string(b.chunk), together(of_frame(a), of_frame(b)), ranks);
      ++swaps;
    }
  }
  std::printf("tally: %d swaps of frames\n", swaps);
}

TEST_F(DamagedSet, ExchangedShards) {
  make_anew("--codec zstd --shard 7K");
  ASSERT_GE(entries_.size(), 4u);
  // Another set with files of the same names, sizes and times: its plan is the same, only its text is not.
  for (const auto& [name, text] : files_) {
    const std::string path = dir_ / ("in/" + name);
    const auto time = fs::last_write_time(path);
    std::string other = text;
    std::reverse(other.begin(), other.end());
    spill(path, other);
    fs::last_write_time(path, time);
  }
  make("other", "--codec zstd --shard 7K");
  const auto plan_of = [&](const std::string& set) { return nlohmann::json::parse(slurp(dir_ / (set + "/manifest.json")))["plan"].get<std::string>(); };
  ASSERT_EQ(plan_of("other"), plan_of("good"));
  for (size_t s = 0; s < entries_.size(); ++s) {
    fresh();
    const std::string name = "shard-00000" + std::to_string(s) + ".h5";
    fs::copy_file(dir_ / ("other/" + name), dir_ / ("set/" + name), fs::copy_options::overwrite_existing);
    expect_toll(name + " of another set", of_shard(static_cast<uint32_t>(s)));
    // Two shards of one set in each other's place.
    fresh();
    const std::string next = "shard-00000" + std::to_string((s + 1) % entries_.size()) + ".h5";
    fs::copy_file(dir_ / ("good/" + name), dir_ / ("set/" + next), fs::copy_options::overwrite_existing);
    fs::copy_file(dir_ / ("good/" + next), dir_ / ("set/" + name), fs::copy_options::overwrite_existing);
    expect_toll(name + " and " + next, together(of_shard(shard_of(name)), of_shard(shard_of(next))));
  }
  std::printf("tally: %zu shards of another set, %zu pairs of one set exchanged\n", entries_.size(), entries_.size());
}

TEST_F(DamagedSet, OneShardLostCostsItsOwnDocumentsOnly) {
  fresh();
  fs::remove(dir_ / "set/shard-000000.h5");
  Toll toll = of_shard(0);
  EXPECT_FALSE(toll.lost.empty());
  EXPECT_LT(toll.lost.size(), files_.size());
  toll.extract_says.push_back("shard-000000.h5: this shard of the set is missing");
  expect_toll("a shard lost", toll);
  // A document of another shard by its name; one that nobody can name any more.
  EXPECT_TRUE(llmc("extract " + (dir_ / "set") + " -o - --document in/f8.txt").out == files_["f8.txt"]);
  EXPECT_EXIT_CODE(llmc("extract " + (dir_ / "set") + " -o - --document in/f0.txt"), 20);
}

TEST_F(DamagedSet, SalvageNeedsNothingButFrames) {
  for (const int ranks : {0, 3}) {
    fresh();
    fs::remove(dir_ / "set/manifest.json");
    for (const std::string name : {"shard-000000.h5", "shard-000001.h5"}) {
      std::string bytes = slurp(dir_ / ("set/" + name));
      std::fill_n(bytes.begin(), 512, '\0');           // user block
      std::fill_n(bytes.begin() + 512, 100, '\xff');   // HDF5's superblock and root group
      spill(dir_ / ("set/" + name), bytes);
    }
    EXPECT_NE(llmc("extract " + (dir_ / "set") + " -o " + (dir_ / "out")).code, 0);
    const std::string out = dir_ / ("won" + std::to_string(ranks));
    const Outcome outcome = llmc("salvage " + (dir_ / "set") + " -o " + out, ranks);
    ASSERT_EXIT_CODE(outcome, 0);
    for (const auto& [name, text] : files_) EXPECT_TRUE(slurp(out + "/in/" + name) == text) << name;
    EXPECT_EQ(shell("ls -A " + out).out, "in\n") << "nothing else";
  }
}

TEST_F(DamagedSet, SalvageOfPartsOfTheTextByName) {
  fresh();
  // The indexes are gone too: text without names.
  fs::remove(dir_ / "set/manifest.json");
  const Outcome chunks = llmc("list --chunks --json " + (dir_ / "good/shard-000000.h5"));
  std::string bytes = slurp(dir_ / "set/shard-000000.h5");
  const size_t last = chunks.out.rfind("\"frame_offset\":");
  const size_t offset = std::stoul(chunks.out.substr(last + 15));
  const size_t length = std::stoul(chunks.out.substr(chunks.out.find("\"frame_bytes\":", last) + 14));
  bytes.resize(offset + length);
  std::fill_n(bytes.begin(), 512, '\0');
  spill(dir_ / "one.h5", bytes);
  const Outcome outcome = llmc("salvage " + (dir_ / "one.h5") + " -o " + (dir_ / "won"));
  EXPECT_EXIT_CODE(outcome, 3);
  std::string text;
  for (const auto& [name, file] : files_) text += file;
  const Outcome listed = shell("ls -A " + (dir_ / "won"));
  ASSERT_NE(listed.out.find("one.bytes-0-"), std::string::npos) << explain(outcome) << listed.out;
  const std::string won = slurp(dir_ / ("won/" + listed.out.substr(0, listed.out.find('\n'))));
  EXPECT_GT(won.size(), 9000u);
  EXPECT_TRUE(won == text.substr(0, won.size()));
  // One frame broken: what stands before and behind it.
  bytes[offset / 2] = static_cast<char>(bytes[offset / 2] ^ 1);
  spill(dir_ / "one.h5", bytes);
  fs::remove_all(dir_ / "won");
  EXPECT_EXIT_CODE(llmc("salvage " + (dir_ / "one.h5") + " -o " + (dir_ / "won")), 3);
  for (const auto& item : fs::directory_iterator(dir_ / "won")) {
    const std::string name = item.path().filename();
    if (name.find(".bytes-") == std::string::npos) continue;
    const size_t begin = std::stoul(name.substr(name.find(".bytes-") + 7));
    const std::string part = slurp(item.path());
    EXPECT_TRUE(part == text.substr(begin, part.size())) << name;
  }
  EXPECT_EXIT_CODE(llmc("salvage " + (dir_ / "in") + " -o " + (dir_ / "won")), 20) << "no frame in it";
  EXPECT_EXIT_CODE(llmc("salvage " + (dir_ / "nowhere") + " -o " + (dir_ / "won")), 10);
}

TEST_F(DamagedSet, SalvageWithTheModel) {
  make("modelled", "--engine native --shard 1M");
  std::string bytes = slurp(dir_ / "modelled/shard-000000.h5");
  ASSERT_GT(bytes.size(), 2000u);
  std::fill_n(bytes.begin(), 600, '\0');
  spill(dir_ / "bad.h5", bytes);
  const Outcome outcome = llmc("salvage " + (dir_ / "bad.h5") + " -o " + (dir_ / "won") + " --engine native", 3);
  ASSERT_EXIT_CODE(outcome, 0);
  for (const auto& [name, text] : files_) EXPECT_TRUE(slurp(dir_ / ("won/in/" + name)) == text) << name;
}

TEST_F(DamagedSet, RepairBringsBackTheVeryBytes) {
  make("whole", "--codec zstd --parity 10%");
  fs::rename(dir_ / "good", dir_ / "without");
  fs::rename(dir_ / "whole", dir_ / "good");
  EXPECT_EXIT_CODE(llmc("verify " + (dir_ / "good")), 0);
  const int rounds = long_tier() ? 150 : 3;
  std::mt19937_64 random(12);
  int repaired = 0;
  for (int i = 0; i < rounds; ++i) {
    for (const std::string& name : members()) {
      fresh();
      std::string bytes = slurp(dir_ / ("set/" + name));
      const size_t at = random() % bytes.size();
      if (name.ends_with(".parity") || i % 3 == 0) bytes[at] = static_cast<char>(bytes[at] ^ 1);
      else if (i % 3 == 1) bytes.erase(at, 300);
      else bytes.resize(bytes.size() - std::min<size_t>(bytes.size() - 1, 400));
      spill(dir_ / ("set/" + name), bytes);
      const Outcome verify = llmc("verify " + (dir_ / "set"));
      EXPECT_EXIT_CODE(verify, 20) << name;
      EXPECT_NE((verify.out + verify.err).find("repair"), std::string::npos) << name << explain(verify);
      const Outcome look = llmc("repair --dry-run " + (dir_ / "set"));
      EXPECT_EXIT_CODE(look, 0) << name << " " << at;
      const Outcome repair = llmc("repair " + (dir_ / "set"));
      ASSERT_EXIT_CODE(repair, 0) << name << " " << at;
      ASSERT_EQ(shell("diff -r " + (dir_ / "good") + " " + (dir_ / "set")).out, "") << name << " " << at;
      ++repaired;
    }
  }
  std::printf("tally: %d damaged files repaired to the very bytes\n", repaired);
  // Without parity, and beyond it.
  EXPECT_EXIT_CODE(llmc("repair " + (dir_ / "without")), 1);
  fresh();
  spill(dir_ / "set/shard-000000.h5", "nothing");
  EXPECT_EXIT_CODE(llmc("repair " + (dir_ / "set")), 20);
  EXPECT_EQ(slurp(dir_ / "set/shard-000000.h5"), "nothing") << "what cannot be repaired is left as it is";
}

TEST_F(DamagedSet, ASampleIsReproducibleAndHonest) {
  const Outcome first = llmc("verify " + (dir_ / "good") + " --sample 20% --seed 7");
  ASSERT_EXIT_CODE(first, 0);
  EXPECT_EQ(first.out, llmc("verify " + (dir_ / "good") + " --sample 20% --seed 7", 3).out);
  EXPECT_NE(first.out.find("(--sample 20% --seed 7)"), std::string::npos) << first.out;
  EXPECT_EQ(first.out.find("; sound"), std::string::npos) << "a sample proves nothing of the rest: " << first.out;
  EXPECT_NE(llmc("verify " + (dir_ / "good") + " --sample 0.001%").out.find("; 1 of "), std::string::npos) << "one chunk at least";
  // Interrupted: only what was decoded is claimed.
  const Outcome stopped = shell("LLMC_FAULT=dispatch.result:3:delay " + product() + " verify --data " + (dir_ / "good") +
                                " --threads 1 --streams 1 & p=$!; sleep 1; kill -INT $p; wait $p");
  if (stopped.code != 0) {
    EXPECT_EXIT_CODE(stopped, 130);
    EXPECT_NE(stopped.out.find("stopped, the rest was not checked"), std::string::npos) << stopped.out;
    EXPECT_EQ(stopped.out.find("; sound"), std::string::npos) << stopped.out;
  }
}

TEST_F(DamagedSet, ChecksumsAreThoseOfSha256sum) {
  spill(dir_ / "odd/new\nline \\ back.txt", "odd");
  spill(dir_ / "odd/empty", "");
  ASSERT_EXIT_CODE(llmc("compress " + (dir_ / "odd") + " " + (dir_ / "in") + " -o " + (dir_ / "odd.h5") + " --codec zstd -q"), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir_ / "odd.h5") + " -o " + (dir_ / "out")), 0);
  const Outcome sums = llmc("list --sha256 " + (dir_ / "odd.h5"));
  ASSERT_EXIT_CODE(sums, 0);
  spill(dir_ / "SUMS", sums.out);
  const Outcome check = shell("cd " + (dir_ / "out") + " && sha256sum -c --strict ../SUMS");
  EXPECT_EXIT_CODE(check, 0);
  EXPECT_EQ(shell("cd " + (dir_ / "out") + " && find . -type f -printf x").out.size(), 11u);
  EXPECT_EQ(static_cast<size_t>(std::count(sums.out.begin(), sums.out.end(), '\n')), 11u);
  spill(dir_ / "out/in/f3.txt", "changed");
  EXPECT_EXIT_CODE(shell("cd " + (dir_ / "out") + " && sha256sum -c --strict ../SUMS"), 1);
}

}  // namespace
}  // namespace llmc::test
