#include "commands/salvage_versions.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace llmc {
namespace {

// The bytes of a piece and their place: what is the same in several versions.
struct Content {
  uint64_t offset = 0, size = 0;
  Digest sha256{};
  auto operator<=>(const Content&) const = default;
  bool overlaps(const Content& other) const { return offset < other.offset + other.size && other.offset < offset + size; }
};
using Sources = std::map<Content, std::vector<FoundPiece>>;

struct Group {
  std::optional<Digest> plan;
  Entry entry;
  std::vector<Content> contents;  // by offset
  bool accepts(const Content& content) const {
    const auto behind = std::upper_bound(contents.begin(), contents.end(), content);
    return (behind == contents.end() || !behind->overlaps(content)) && (behind == contents.begin() || !std::prev(behind)->overlaps(content));
  }
  void add(const Content& content) { contents.insert(std::upper_bound(contents.begin(), contents.end(), content), content); }
};

constexpr size_t most_alike = 64;  // groups that a piece is tried on: more would be made to waste time

// Pieces that no plan has, of one time and mode, by offset. One that can be of one group alone goes there. The rest is
// one group where it does not contradict itself, else each piece one of its own.
void join_loose(const Entry& entry, const std::vector<Content>& loose, size_t planned, std::vector<Group>* groups) {
  Group all{{}, entry, {}};
  bool together = true;
  std::vector<std::pair<size_t, Content>> joining;
  uint64_t end = 0;
  for (size_t i = 0; i < loose.size(); ++i) {
    const bool rivalled = loose[i].offset < end || (i + 1 < loose.size() && loose[i].overlaps(loose[i + 1]));
    end = std::max(end, loose[i].offset + loose[i].size);
    size_t home = 0, homes = 0;
    for (size_t g = 0; g < std::min(planned, most_alike) && !rivalled; ++g) {
      const Group& group = (*groups)[g];
      if (group.entry.mtime_ns != entry.mtime_ns || group.entry.mode != entry.mode || !group.accepts(loose[i])) continue;
      home = g;
      ++homes;
    }
    if (homes == 1 && planned <= most_alike) {
      joining.emplace_back(home, loose[i]);
      continue;
    }
    together &= all.accepts(loose[i]);
    all.add(loose[i]);
  }
  for (const auto& [home, content] : joining) (*groups)[home].add(content);
  if (together) {
    if (!all.contents.empty()) groups->push_back(std::move(all));
    return;
  }
  for (const Content& c : all.contents) groups->push_back({{}, entry, {c}});
}

// Of files of one size with bytes in them.
std::vector<Group> groups_of(const Salvaged& salvaged, const std::vector<FoundPiece>& pieces, const Sources& sources) {
  std::vector<Group> groups;
  std::map<Digest, size_t> by_plan;
  for (const FoundPiece& p : pieces) {
    const auto& block = salvaged.shards[p.shard].block;
    if (!block) continue;
    const size_t at = by_plan.try_emplace(block->plan, groups.size()).first->second;
    if (at == groups.size()) groups.push_back({block->plan, p.e->entry, {}});
    const Content content{p.e->offset, p.e->size, p.e->sha256};
    if (groups[at].accepts(content)) groups[at].add(content);  // else it is there, or its index lies
  }
  std::map<std::pair<int64_t, uint32_t>, std::pair<const Entry*, std::vector<Content>>> loose;
  for (const auto& [content, found] : sources) {
    for (const FoundPiece& p : found) {
      if (salvaged.shards[p.shard].block) continue;
      auto& [entry, contents] = loose[{p.e->entry.mtime_ns, p.e->entry.mode}];
      entry = &p.e->entry;
      if (contents.empty() || contents.back() != content) contents.push_back(content);
    }
  }
  const size_t planned = groups.size();
  for (const auto& [key, alike] : loose) join_loose(*alike.first, alike.second, planned, &groups);
  // Those that another one holds all of are left out: the fuller stays, of the same the newer.
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return a.contents.size() != b.contents.size() ? a.contents.size() > b.contents.size() : a.entry.mtime_ns > b.entry.mtime_ns;
  });
  std::vector<Group> kept;
  std::map<Content, std::vector<size_t>> holders;
  for (Group& group : groups) {
    const std::vector<size_t>& rivals = holders[group.contents[0]];
    const auto holds_all = [&](size_t other) {
      const auto& all = kept[other].contents;
      return std::includes(all.begin(), all.end(), group.contents.begin(), group.contents.end());
    };
    if (std::any_of(rivals.begin(), rivals.begin() + static_cast<ptrdiff_t>(std::min(rivals.size(), most_alike)), holds_all)) continue;
    for (const Content& c : group.contents) holders[c].push_back(kept.size());
    kept.push_back(std::move(group));
  }
  return kept;
}

}  // namespace

std::vector<FoundVersion> versions_of(const Salvaged& salvaged, const std::vector<FoundPiece>& pieces) {
  std::map<std::tuple<Entry::Kind, std::string, uint64_t>, std::vector<FoundPiece>> kinds;
  for (const FoundPiece& p : pieces) {
    if (p.e->size == 0 && p.e->entry.size > 0) continue;
    kinds[{p.e->entry.kind, p.e->entry.target, p.e->entry.size}].push_back(p);
  }
  std::vector<FoundVersion> versions;
  for (const auto& [kind, found] : kinds) {
    if (std::get<0>(kind) != Entry::Kind::file || std::get<2>(kind) == 0) {
      const auto newest = std::max_element(found.begin(), found.end(), [](const FoundPiece& a, const FoundPiece& b) {
        return a.e->entry.mtime_ns < b.e->entry.mtime_ns;
      });
      const auto& block = salvaged.shards[newest->shard].block;
      versions.push_back({newest->e->entry, block ? std::optional(block->plan) : std::nullopt, {}});
      continue;
    }
    Sources sources;
    for (const FoundPiece& p : found) sources[{p.e->offset, p.e->size, p.e->sha256}].push_back(p);
    for (const Group& group : groups_of(salvaged, found, sources)) {
      FoundVersion version{group.entry, group.plan, {}};
      for (const Content& c : group.contents) version.parts.push_back(sources.at(c));
      versions.push_back(std::move(version));
    }
  }
  std::stable_sort(versions.begin(), versions.end(), [](const FoundVersion& a, const FoundVersion& b) {
    const bool x = a.entry.kind == Entry::Kind::directory, y = b.entry.kind == Entry::Kind::directory;
    return x != y ? x : a.entry.mtime_ns > b.entry.mtime_ns;
  });
  return versions;
}

}  // namespace llmc
