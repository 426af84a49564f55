#include "dispatch/progress.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace llmc {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t MiB = 1 << 20;

ProgressOptions options(ProgressMode mode, std::vector<std::string>* out) {
  ProgressOptions o;
  o.mode = mode;
  o.interval = 10;
  o.total_tasks = 160;
  o.total_bytes = 10 * MiB;
  o.write = [out](std::string_view text) { out->emplace_back(text); };
  return o;
}

DispatchCounts counts(uint64_t done) {
  DispatchCounts c;
  c.done = done;
  c.plain_bytes = done * MiB / 16;
  c.payload_bytes = c.plain_bytes;
  c.result_bytes = c.plain_bytes / 5;
  c.tokens = done * 1000;
  c.workers = 4;
  return c;
}

// A job of 16 chunks a second, seen twice a second.
std::vector<std::string> play(ProgressOptions o, std::vector<std::string>* out) {
  Progress progress(std::move(o));
  Progress::Time now{};
  progress.begin(now);
  for (uint64_t done = 0; done <= 160; done += 8) {
    progress.update(counts(done), now);
    now += 500ms;
  }
  progress.finish(counts(160), now - 500ms);
  return *out;
}

TEST(Progress, Lines) {
  std::vector<std::string> out;
  auto o = options(ProgressMode::lines, &out);
  o.interval = 4;
  EXPECT_EQ(play(o, &out), (std::vector<std::string>{
                               "compress: 0/160 chunks, 0 B of 10.0 MiB (0.0 %), 0 B/s, 0:00 elapsed, 0 workers\n",
                               "compress: 64/160 chunks, 4.0 MiB of 10.0 MiB (40.0 %), 1.0 MiB/s, ratio 5.00, ETA 0:06, "
                               "0:04 elapsed, 4 workers\n",
                               "compress: 128/160 chunks, 8.0 MiB of 10.0 MiB (80.0 %), 1.0 MiB/s, ratio 5.00, ETA 0:02, "
                               "0:08 elapsed, 4 workers\n",
                               "compress: 160/160 chunks, 10.0 MiB of 10.0 MiB (100.0 %), 1.0 MiB/s, ratio 5.00, "
                               "0:10 elapsed, 4 workers\n",
                           }));
}

TEST(Progress, TroubleIsNamed) {
  std::vector<std::string> out;
  Progress progress(options(ProgressMode::lines, &out));
  DispatchCounts c = counts(16);
  c.workers = 1;
  c.workers_lost = 3;
  c.reissued = 5;
  c.failed = 2;
  progress.begin({});
  progress.finish(c, Progress::Time{} + 1s);
  EXPECT_EQ(out.back(),
            "compress: 16/160 chunks, 1.0 MiB of 10.0 MiB (10.0 %), 1.0 MiB/s, ratio 5.00, ETA 0:09, "
            "0:01 elapsed, 1 worker, 3 lost, 5 reissued, 2 failed\n");
}

TEST(Progress, Bar) {
  std::vector<std::string> out;
  const auto all = play(options(ProgressMode::bar, &out), &out);
  EXPECT_EQ(all.front(), "\rcompress   0 % [........................................] 0 B of 10.0 MiB 0 B/s\x1b[K");
  EXPECT_EQ(all[10], "\rcompress  50 % [######......] 5.0 MiB of 10.0 MiB 1.0 MiB/s ratio 5.00 ETA 0:05\x1b[K");
  EXPECT_EQ(all.back(), "\n");
  for (size_t i = 0; i + 1 < all.size(); ++i) EXPECT_LE(all[i].size(), 79u + 4) << all[i];
  // A narrow terminal: cut, never wrapped.
  std::vector<std::string> narrow;
  auto o = options(ProgressMode::bar, &narrow);
  o.columns = 30;
  for (const auto& text : play(o, &narrow)) EXPECT_LE(text.size(), 29u + 4) << text;
}

TEST(Progress, Json) {
  std::vector<std::string> out;
  auto o = options(ProgressMode::json, &out);
  o.interval = 4;
  const auto all = play(o, &out);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[1],
            R"({"message_type":"progress","verb":"compress","chunks_done":64,"chunks_total":160,"chunks_failed":0,)"
            R"("bytes_done":4194304,"bytes_total":10485760,"coded_bytes":838860,"ratio":5.0,"rate":1048576,)"
            R"("seconds":4.0,"eta":6,"tokens":64000,"workers":4,"workers_lost":0,"reissued":0,"retried":0})"
            "\n");
  EXPECT_EQ(nlohmann::json::parse(all[0])["message_type"], "begin");
  EXPECT_TRUE(nlohmann::json::parse(all[0])["ratio"].is_null());
  EXPECT_EQ(nlohmann::json::parse(all[3])["message_type"], "summary");
  EXPECT_EQ(nlohmann::json::parse(all[3])["eta"], 0);
}

TEST(Progress, UnknownTotals) {
  std::vector<std::string> out;
  auto o = options(ProgressMode::lines, &out);
  o.total_tasks.reset();
  o.total_bytes.reset();
  Progress progress(o);
  progress.begin({});
  progress.finish(counts(16), Progress::Time{} + 2s);
  EXPECT_EQ(out.back(), "compress: 16 chunks, 1.0 MiB, 512.0 KiB/s, ratio 5.00, 0:02 elapsed, 4 workers\n");
}

// What an earlier run did counts as done, but not as this run's speed.
TEST(Progress, Resume) {
  std::vector<std::string> out;
  auto o = options(ProgressMode::lines, &out);
  o.tasks_before = 80;
  o.bytes_before = 5 * MiB;
  o.coded_before = MiB;
  Progress progress(o);
  progress.begin({});
  EXPECT_EQ(out.back(), "compress: 80/160 chunks, 5.0 MiB of 10.0 MiB (50.0 %), 0 B/s, ratio 5.00, 0:00 elapsed, 0 workers\n");
  progress.finish(counts(16), Progress::Time{} + 1s);
  EXPECT_EQ(out.back(),
            "compress: 96/160 chunks, 6.0 MiB of 10.0 MiB (60.0 %), 1.0 MiB/s, ratio 5.00, ETA 0:04, 0:01 elapsed, 4 workers\n");
}

TEST(Progress, TheRateFollowsTheLastHalfMinute) {
  std::vector<std::string> out;
  auto o = options(ProgressMode::json, &out);
  o.total_tasks.reset();
  o.total_bytes.reset();
  o.interval = 1;
  Progress progress(o);
  Progress::Time now{};
  progress.begin(now);
  DispatchCounts c;
  for (int second = 1; second <= 300; ++second) {
    now += 1s;
    c.plain_bytes += second <= 200 ? 1000 : 100;
    progress.update(c, now);
  }
  EXPECT_EQ(nlohmann::json::parse(out.back())["rate"], 100);
  progress.finish(c, now);
  EXPECT_EQ(nlohmann::json::parse(out.back())["rate"], 700);
}

TEST(Progress, Mode) {
  EXPECT_EQ(choose_progress(true, true, true), ProgressMode::json);
  EXPECT_EQ(choose_progress(false, true, true), ProgressMode::off);
  EXPECT_EQ(choose_progress(false, false, true), ProgressMode::bar);
  EXPECT_EQ(choose_progress(false, false, false), ProgressMode::lines);
}

TEST(Progress, Human) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(3.0 * (1ull << 40)), "3.0 TiB");
  EXPECT_EQ(human_time(59), "0:59");
  EXPECT_EQ(human_time(3601), "1:00:01");
}

}  // namespace
}  // namespace llmc
