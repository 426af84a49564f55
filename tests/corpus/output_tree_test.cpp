#include "corpus/output_tree.h"

#include "corpus/fixture.h"

namespace llmc {
namespace {

class Output : public TreeTest {
 protected:
  OutputTree open(OutputOptions options = {}) {
    auto tree = OutputTree::open(root / "out", options);
    if (!tree.ok()) throw std::runtime_error(tree.status().message());
    return std::move(*tree);
  }
  static Entry file(const std::string& name, uint64_t size = 0, uint32_t mode = 0644) {
    Entry entry;
    entry.name = name;
    entry.size = size;
    entry.mode = mode;
    entry.mtime_ns = 1111111111222222222;
    return entry;
  }
  static Entry folder(const std::string& name, uint32_t mode = 0755) {
    Entry entry = file(name, 0, mode);
    entry.kind = Entry::Kind::directory;
    return entry;
  }
  static Entry link(const std::string& name, const std::string& target) {
    Entry entry = file(name, 0, 0777);
    entry.kind = Entry::Kind::symlink;
    entry.target = target;
    return entry;
  }
  static Status put(OutputTree& tree, const std::string& name, const std::string& text) {
    LLMC_ASSIGN(const auto handle, tree.create(file(name, text.size())));
    LLMC_TRY(tree.write_at(handle, 0, as_bytes(text)));
    return tree.finish(handle);
  }
  size_t items(const std::string& dir = "out") const {
    size_t n = 0;
    for ([[maybe_unused]] const auto& item : std::filesystem::recursive_directory_iterator(root / dir)) ++n;
    return n;
  }
  static int64_t mtime(const std::string& path) {
    const struct stat st = info(path);
    return st.st_mtim.tv_sec * int64_t{1000000000} + st.st_mtim.tv_nsec;
  }
};

TEST_F(Output, ATreeComesBackWithModesAndTimes) {
  ::umask(027);
  auto tree = open();
  ASSERT_TRUE(tree.add(folder("d", 0500)).ok());
  ASSERT_TRUE(tree.add(folder("d/empty", 01777)).ok());
  ASSERT_TRUE(tree.add(file("d/zero", 0, 0606)).ok());
  ASSERT_TRUE(tree.add(link("d/link", "/etc/passwd")).ok());
  ASSERT_TRUE(put(tree, "d/f\n\xff", "text").ok());
  ASSERT_TRUE(put(tree, "not/listed/above", "text").ok());
  ASSERT_TRUE(tree.close().ok());
  ::umask(022);
  EXPECT_TRUE(tree.warnings().empty());
  EXPECT_EQ(get("out/d/f\n\xff"), "text");
  EXPECT_EQ(info(at("out/d")).st_mode & 07777, 0500u);
  EXPECT_EQ(info(at("out/d/empty")).st_mode & 07777, 01777u);
  EXPECT_EQ(info(at("out/d/zero")).st_mode & 07777, 0606u);
  for (const char* name : {"out/d", "out/d/empty", "out/d/zero", "out/d/link", "out/d/f\n\xff"}) {
    EXPECT_EQ(mtime(at(name)), 1111111111222222222) << name;
  }
  EXPECT_EQ(std::filesystem::read_symlink(at("out/d/link")), "/etc/passwd");
}

TEST_F(Output, TimesBefore1970) {
  auto tree = open();
  Entry entry = file("old");
  entry.mtime_ns = -1;
  ASSERT_TRUE(tree.add(entry).ok());
  EXPECT_EQ(mtime(at("out/old")), -1);
}

TEST_F(Output, SetuidNeverComesBack) {
  auto tree = open();
  ASSERT_TRUE(tree.add(file("f", 0, 06755)).ok());
  ASSERT_TRUE(tree.add(folder("d", 02755)).ok());
  ASSERT_TRUE(tree.close().ok());
  EXPECT_EQ(info(at("out/f")).st_mode & 07777, 0755u);
  EXPECT_EQ(info(at("out/d")).st_mode & 07777, 0755u);
}

TEST_F(Output, WithoutMetadataTheUmaskDecides) {
  ::umask(027);
  OutputOptions options;
  options.metadata = false;
  auto tree = open(options);
  ASSERT_TRUE(tree.add(file("f", 0, 0777)).ok());
  ASSERT_TRUE(tree.add(folder("d", 0777)).ok());
  ASSERT_TRUE(tree.close().ok());
  ::umask(022);
  EXPECT_EQ(info(at("out/f")).st_mode & 07777, 0640u);
  EXPECT_EQ(info(at("out/d")).st_mode & 07777, 0750u);
  EXPECT_GT(mtime(at("out/f")), 1111111111222222222);
}

TEST_F(Output, PiecesMayComeInAnyOrderInManyFiles) {
  OutputOptions options;
  options.max_open = 3;
  auto tree = open(options);
  std::vector<std::string> texts;
  std::vector<OutputTree::Handle> handles;
  std::vector<std::pair<size_t, size_t>> pieces;
  for (size_t i = 0; i < 20; ++i) {
    texts.push_back(noise(1000 + i, static_cast<unsigned>(i)));
    const auto handle = tree.create(file("d" + std::to_string(i % 4) + "/" + std::to_string(i), texts[i].size()));
    ASSERT_TRUE(handle.ok());
    handles.push_back(*handle);
    for (size_t at = 0; at < texts[i].size(); at += 100) pieces.push_back({i, at});
  }
  size_t open_files = 0;
  for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) ++open_files;
  EXPECT_LT(open_files, 20u);
  std::shuffle(pieces.begin(), pieces.end(), std::mt19937(3));
  for (const auto& [i, at] : pieces) {
    ASSERT_TRUE(tree.write_at(handles[i], at, as_bytes(std::string_view(texts[i]).substr(at, 100))).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(at("out/d0/0")));  // whole or not at all
  for (const auto handle : handles) ASSERT_TRUE(tree.finish(handle).ok());
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(get("out/d" + std::to_string(i % 4) + "/" + std::to_string(i)), texts[i]);
  EXPECT_EQ(items(), 24u);
}

TEST_F(Output, WhatIsNotFinishedLeavesNothing) {
  {
    auto tree = open();
    const auto a = tree.create(file("a", 10)), b = tree.create(file("d/b", 10)), c = tree.create(file("c", 10));
    ASSERT_TRUE(a.ok() && b.ok() && c.ok());
    ASSERT_TRUE(tree.write_at(*a, 0, as_bytes("12345")).ok());
    EXPECT_EQ(tree.write_at(*a, 6, as_bytes("12345")).code(), Code::corrupt);
    EXPECT_EQ(tree.write_at(*a, ~uint64_t{0}, as_bytes("1")).code(), Code::corrupt);
    EXPECT_EQ(tree.finish(*a).code(), Code::corrupt);  // 5 of 10
    EXPECT_FALSE(tree.write_at(*a, 0, as_bytes("1")).ok());
    tree.discard(*c);
    EXPECT_EQ(items(), 2u);  // d and the temporary file in it
  }
  EXPECT_EQ(items(), 1u);
}

TEST_F(Output, NothingIsReplacedWithoutForce) {
  make("out/f", "mine");
  make("out/d", "a file where a folder should be");
  std::filesystem::create_symlink("f", at("out/l"));
  {
    auto tree = open();
    for (const Status& status : {put(tree, "f", "theirs"), put(tree, "l", "theirs"), tree.add(link("f", "x")),
                                 tree.add(link("l", "x")), tree.add(folder("f")), tree.add(folder("l"))}) {
      EXPECT_EQ(status.code(), Code::failure);
      EXPECT_NE(status.message().find("exists already"), std::string::npos) << status.message();
    }
    // Also one that appears while it is being written.
    const auto handle = tree.create(file("late", 1));
    ASSERT_TRUE(handle.ok() && tree.write_at(*handle, 0, as_bytes("1")).ok());
    make("out/late", "mine");
    EXPECT_NE(tree.finish(*handle).message().find("out/late: exists already"), std::string::npos);
  }
  EXPECT_EQ(get("out/f"), "mine");
  EXPECT_EQ(get("out/late"), "mine");
  EXPECT_EQ(items(), 4u);

  OutputOptions force;
  force.force = true;
  auto tree = open(force);
  EXPECT_TRUE(put(tree, "f", "theirs").ok());
  EXPECT_TRUE(put(tree, "l", "theirs").ok());
  EXPECT_TRUE(tree.add(folder("d")).ok());
  EXPECT_TRUE(tree.add(link("late", "x")).ok());
  EXPECT_EQ(put(tree, "d", "a file in the place of a folder").code(), Code::failure);
  EXPECT_EQ(get("out/f"), "theirs");
  EXPECT_FALSE(std::filesystem::is_symlink(at("out/l")));
  EXPECT_TRUE(std::filesystem::is_directory(at("out/d")));
  EXPECT_EQ(items(), 4u);
}

TEST_F(Output, FoldersAreMerged) {
  make("out/d/old", "1");
  ::chmod(at("out/d").c_str(), 0500);
  auto tree = open();
  ASSERT_TRUE(tree.add(folder("d", 0555)).ok());
  ASSERT_TRUE(put(tree, "d/new", "2").ok());
  ASSERT_TRUE(tree.close().ok());
  EXPECT_EQ(get("out/d/old") + get("out/d/new"), "12");
  EXPECT_EQ(info(at("out/d")).st_mode & 0777, 0555u);
}

TEST_F(Output, HostileNamesAreRefused) {
  auto tree = open();
  for (const char* name : {"", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/.", ".."}) {
    EXPECT_EQ(tree.create(file(name)).status().code(), Code::corrupt) << name;
    EXPECT_EQ(tree.add(file(name)).code(), Code::corrupt) << name;
    EXPECT_EQ(tree.add(folder(name)).code(), Code::corrupt) << name;
    EXPECT_EQ(tree.add(link(name, "x")).code(), Code::corrupt) << name;
  }
  EXPECT_EQ(tree.add(file(std::string("a\0b", 3))).code(), Code::corrupt);
  EXPECT_EQ(tree.add(link("l", "")).code(), Code::corrupt);
  EXPECT_EQ(tree.add(link("l", std::string("a\0b", 3))).code(), Code::corrupt);
  EXPECT_EQ(items(), 0u);
  EXPECT_FALSE(std::filesystem::exists(at("x")));
}

TEST_F(Output, LinksAreNeverFollowed) {
  make("outside/victim", "untouched");
  ::chmod(at("outside").c_str(), 0755);
  const auto before = mtime(at("outside"));
  std::filesystem::create_directories(at("out"));
  std::filesystem::create_directory_symlink(at("outside"), at("out/before"));  // stood there before
  for (const bool force : {false, true}) {
    OutputOptions options;
    options.force = force;
    auto tree = open(options);
    // A link from the archive, then things below it.
    ASSERT_TRUE(tree.add(link("evil", at("outside"))).ok());
    ASSERT_TRUE(tree.add(link("up", "..")).ok());
    for (const char* name :
         {"evil/victim", "evil/new", "before/victim", "before/new", "up/outside/victim", "before/a/b"}) {
      const Status status = put(tree, name, "owned");
      EXPECT_EQ(status.code(), Code::failure) << name;
      EXPECT_NE(status.message().find("symbolic link"), std::string::npos) << status.message();
      EXPECT_FALSE(tree.add(folder(name)).ok());
      EXPECT_FALSE(tree.add(link(name, "x")).ok());
    }
    EXPECT_TRUE(tree.close().ok());
    std::filesystem::remove(at("out/evil"));
    std::filesystem::remove(at("out/up"));
  }
  EXPECT_EQ(get("outside/victim"), "untouched");
  EXPECT_EQ(items("outside"), 1u);
  EXPECT_EQ(mtime(at("outside")), before);
}

TEST_F(Output, AFolderSwappedForALinkIsNotFollowed) {
  make("outside/victim", "untouched");
  auto tree = open();
  ASSERT_TRUE(tree.add(folder("d", 0700)).ok());
  const auto handle = tree.create(file("d/f", 1));
  ASSERT_TRUE(handle.ok());
  ASSERT_TRUE(tree.write_at(*handle, 0, as_bytes("1")).ok());
  ASSERT_TRUE(put(tree, "elsewhere", "1").ok());  // so that the folder has to be opened anew
  std::filesystem::rename(at("out/d"), at("moved"));
  std::filesystem::create_directory_symlink(at("outside"), at("out/d"));
  EXPECT_FALSE(tree.finish(*handle).ok());
  EXPECT_FALSE(tree.close().ok());
  EXPECT_EQ(items("outside"), 1u);
  EXPECT_NE(mtime(at("outside")), 1111111111222222222);
}

TEST_F(Output, ForceReplacesALinkByTheFolder) {
  make("outside/victim", "untouched");
  std::filesystem::create_directories(at("out"));
  std::filesystem::create_directory_symlink(at("outside"), at("out/d"));
  OutputOptions force;
  force.force = true;
  auto tree = open(force);
  ASSERT_TRUE(tree.add(folder("d")).ok());
  ASSERT_TRUE(put(tree, "d/victim", "theirs").ok());
  EXPECT_EQ(get("outside/victim"), "untouched");
  EXPECT_EQ(get("out/d/victim"), "theirs");
}

TEST_F(Output, FoldersWithoutPermissionAreNamed) {
  make("out/d/f", "1");
  ::chmod(at("out/d").c_str(), 0555);
  ::chmod(at("out").c_str(), 0555);
  EXPECT_TRUE(as_nobody([&] {
    auto tree = OutputTree::open(at("out"), {});
    if (!tree.ok()) return false;
    const Status status = put(*tree, "d/new", "1");
    return status.message() == at("out/d/new") + ": Permission denied";
  }));
  EXPECT_TRUE(as_nobody(
      [&] { return OutputTree::open(at("out/x/y"), {}).status().message() == at("out/x/y") + ": Permission denied"; }));
}

TEST_F(Output, ReadOnlyFoldersAreRestoredWithoutRootsRights) {
  std::filesystem::create_directories(at("out"));
  ::chmod(at("out").c_str(), 0777);
  EXPECT_TRUE(as_nobody([&] {
    for (const bool again : {false, true}) {
      OutputOptions options;
      options.force = again;
      auto tree = OutputTree::open(at("out"), options);
      if (!tree.ok() || !tree->add(folder("d", 0500)).ok() || !tree->add(folder("d/sub", 0)).ok() ||
          !put(*tree, "d/sub/f", "1").ok() || !tree->close().ok() || !tree->warnings().empty()) {
        return false;
      }
    }
    return (info(at("out/d")).st_mode & 0777) == 0500;
  }));
  EXPECT_EQ(info(at("out/d/sub")).st_mode & 0777, 0u);
}

TEST_F(Output, AFileWhereAFolderIsNeeded) {
  make("out/f", "1");
  auto tree = open();
  EXPECT_EQ(put(tree, "f/below", "1").message(), at("out/f") + ": Not a directory");
  make("plain", "");
  EXPECT_EQ(OutputTree::open(at("plain"), {}).status().message(), at("plain") + ": Not a directory");
}

}  // namespace
}  // namespace llmc
