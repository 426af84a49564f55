#include "commands/start_table.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "commands/speed.h"
#include "model/model.h"

namespace llmc {

namespace {

uint64_t free_memory() {
  std::ifstream in("/proc/meminfo");
  for (std::string word; in >> word;) {
    uint64_t kib = 0;
    if (word == "MemAvailable:" && in >> kib) return kib << 10;
  }
  return 0;
}

}  // namespace

std::string WorkerFacts::place() const { return host + (engine.empty() ? "" : ", " + engine); }

void WorkerFacts::write(ByteWriter& out) const {
  out.string(host);
  out.string(engine);
  out.u32(threads);
  out.u32(streams);
  out.u64(memory);
  out.u64(static_cast<uint64_t>(tokens_per_second));
}

WorkerFacts WorkerFacts::read(ByteReader& in) {
  WorkerFacts facts;
  facts.host = printable(in.string());
  facts.engine = printable(in.string());
  facts.threads = in.u32();
  facts.streams = in.u32();
  facts.memory = in.u64();
  facts.tokens_per_second = static_cast<double>(in.u64());
  return facts;
}

WorkerFacts worker_facts(Engine* engine, int threads, int streams, bool measure) {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  WorkerFacts facts{host, engine ? engine->name() : "", static_cast<uint32_t>(threads), static_cast<uint32_t>(streams),
                    free_memory(), 0};
  if (!engine || !measure) return facts;
  std::vector<Symbol> text;
  engine->model().tokenizer().encode(as_bytes(sample_text_for_speed()), &text);
  const Result<Measured> speed = measure_speed(*engine, text, threads, 1, false, 0.1);
  if (speed.ok()) facts.tokens_per_second = static_cast<double>(speed->tokens) / speed->seconds;
  return facts;
}

std::string start_table(std::span<const WorkerFacts> workers) {
  size_t host = 4, engine = 6;
  for (const WorkerFacts& w : workers) {
    host = std::max(host, w.host.size());
    engine = std::max(engine, w.engine.size());
  }
  std::string table = fmt::format("{:>5}  {:<{}}  {:<{}}  {:>7}  {:>7}  {:>11}  {:>8}\n", "rank", "host", host, "engine", engine,
                                  "threads", "streams", "memory free", "tokens/s");
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerFacts& w = workers[i];
    table += fmt::format("{:>5}  {:<{}}  {:<{}}  {:>7}  {:>7}  {:>11}  {:>8}\n", i + 1, w.host, host,
                         w.engine.empty() ? "-" : w.engine, engine, w.threads, w.streams,
                         w.memory ? fmt::format("{:.1f} GB", static_cast<double>(w.memory) / 1e9) : "-",
                         w.tokens_per_second > 0 ? fmt::format("{:.0f}", w.tokens_per_second) : "-");
  }
  return table;
}

std::vector<std::string> slow_workers(std::span<const WorkerFacts> workers) {
  std::vector<double> rates;
  for (const WorkerFacts& w : workers) {
    if (w.tokens_per_second > 0) rates.push_back(w.tokens_per_second);
  }
  std::vector<std::string> slow;
  if (rates.size() < 3) return slow;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  for (size_t i = 0; i < workers.size(); ++i) {
    const double rate = workers[i].tokens_per_second;
    if (rate > 0 && rate < *middle / 2) {
      slow.push_back(fmt::format("rank {} ({}) is slow: {:.0f} tokens a second, where {:.0f} are the median", i + 1,
                                 workers[i].place(), rate, *middle));
    }
  }
  return slow;
}

}  // namespace llmc
