#include "commands/run_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "dispatch/progress.h"

namespace llmc {
namespace {

using nlohmann::json;

constexpr size_t most_rows = 400;

constexpr const char* style = R"(
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #666; --line: #ddd; --bar: #2f6fb3; --ground: #fff; --card: #f6f6f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --soft: #999; --line: #3a3a3a; --bar: #6ea8e0; --ground: #181818; --card: #222; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; } p.note { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; }
.cards div { background: var(--card); border-radius: .4rem; padding: .6rem .8rem; } .cards b { display: block; font-size: 1.2rem; } .cards span { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; } th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; white-space: nowrap; } .bar { background: var(--bar); height: .7rem; border-radius: .2rem; min-width: 1px; } td.b { width: 30%; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; } svg .l { stroke: var(--line); } svg .p { stroke: var(--bar); fill: none; stroke-width: 1.5; } svg .a { fill: var(--bar); opacity: .15; }
.wide { overflow-x: auto; } .bad { color: #c33; }
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string card(const std::string& value, const std::string& what) {
  return fmt::format("<div><b>{}</b><span>{}</span></div>\n", escaped(value), escaped(what));
}

// Neighbouring points taken together, about `wanted` of them: where chunks come seldom, single seconds say nothing.
json fewer(const json& points, size_t wanted) {
  json out = json::array();
  const size_t step = std::max<size_t>(1, points.size() / std::max<size_t>(wanted, 4));
  double before = 0;
  for (size_t i = 0; i < points.size();) {
    const double begin = before;
    double sum = 0;
    for (const size_t end = std::min(i + step, points.size()); i < end; ++i) {
      const double at = points[i][0].get<double>();
      sum += points[i][1].get<double>() * (at - before);
      before = at;
    }
    if (before > begin) out.push_back({before, sum / (before - begin)});
  }
  return out;
}

// Bytes a second over time, the area below it filled.
std::string curve(const json& points) {
  if (points.size() < 2) return "<p class=note>The run was too short for a curve.</p>\n";
  double end = 0, most = 0;
  for (const json& p : points) {
    end = std::max(end, p[0].get<double>());
    most = std::max(most, p[1].get<double>());
  }
  if (end <= 0 || most <= 0) return "<p class=note>Nothing was done in this run.</p>\n";
  constexpr double left = 70, width = 820, top = 10, height = 200;
  const auto x = [&](double seconds) { return left + width * seconds / end; };
  const auto y = [&](double rate) { return top + height * (1 - rate / most); };
  std::string line;
  for (const json& p : points) line += fmt::format("{:.1f},{:.1f} ", x(p[0].get<double>()), y(p[1].get<double>()));
  std::string out = "<svg viewBox='0 0 900 240' role=img aria-label='plain bytes a second over time'>\n";
  for (int i = 0; i <= 4; ++i) {
    const double rate = most * i / 4;
    out += fmt::format("<line class=l x1={} x2={} y1={:.1f} y2={:.1f} /><text x={} y={:.1f} text-anchor=end>{}/s</text>\n", left,
                       left + width, y(rate), y(rate), left - 6, y(rate) + 4, human_bytes(rate));
    out += fmt::format("<text x={:.1f} y=230 text-anchor={}>{}</text>\n", x(end * i / 4), i < 4 ? "middle" : "end", human_time(end * i / 4));
  }
  out += fmt::format("<polygon class=a points='{0:.1f},{1} {2}{3:.1f},{1}' />\n<polyline class=p points='{2}' />\n</svg>\n",
                     x(points.front()[0].get<double>()), top + height, line, x(end));
  return out;
}

std::string workers_table(const json& workers, double seconds) {
  std::string out = "<div class=wide><table><tr><th>worker<th class=n>chunks<th class=n>text<th class=n>tokens<th class=n>had work<th>\n";
  for (const json& w : workers) {
    const double busy = std::min(100.0, 100 * w["busy_seconds"].get<double>() / std::max(seconds, 1e-3));
    out += fmt::format("<tr><td>{}{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:.0f} %<td class=b><div class=bar style='width:{:.1f}%'></div>\n",
                       escaped(w["name"].get<std::string>()), w["lost"].get<bool>() ? " <b class=bad>lost</b>" : "",
                       w["chunks"].get<uint64_t>(), human_bytes(w["bytes"].get<double>()), w["tokens"].get<uint64_t>(), busy, busy);
  }
  return out + "</table></div>\n";
}

std::string ratio_table(const json& rows, const std::string& what) {
  double most = 1;
  for (const json& r : rows) most = std::max(most, r["ratio"].get<double>());
  std::string out = fmt::format("<div class=wide><table><tr><th>{}<th class=n>chunks<th class=n>text<th class=n>coded<th class=n>ratio<th>\n", what);
  for (size_t i = 0; i < std::min(rows.size(), most_rows); ++i) {
    const json& r = rows[i];
    out += fmt::format("<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:.2f}<td class=b><div class=bar style='width:{:.1f}%'></div>\n",
                       escaped(r["name"].is_string() ? r["name"].get<std::string>() : r["name"].dump()), r["chunks"].get<uint64_t>(),
                       human_bytes(r["bytes"].get<double>()), human_bytes(r["coded"].get<double>()), r["ratio"].get<double>(),
                       100 * r["ratio"].get<double>() / most);
  }
  out += "</table></div>\n";
  if (rows.size() > most_rows) out += fmt::format("<p class=note>{} more are in the JSON file.</p>\n", rows.size() - most_rows);
  return out;
}

}  // namespace

std::string run_page(const std::string& text) {
  const json j = json::parse(text, nullptr, false);
  if (!j.is_object()) return "";
  const double seconds = j["seconds"].get<double>();
  const double bytes = j["bytes"]["done"].get<double>(), coded = j["bytes"]["coded"].get<double>();
  const std::string verb = j["verb"].get<std::string>(), output = j["output"].get<std::string>();
  std::string out = fmt::format("<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\n"
                                "<title>{0} {1}</title>\n<style>{2}</style>\n<h1>{0} {1}</h1>\n",
                                escaped(verb), escaped(output), style);
  const std::string outcome = j["outcome"].get<std::string>();
  out += fmt::format("<p{}>{}; begun {}, {}.</p>\n<div class=cards>\n", outcome == "done" ? "" : " class=bad", escaped(outcome),
                     escaped(j["started"].get<std::string>()), human_time(seconds));
  out += card(human_bytes(bytes), "text in this run");
  if (bytes > 0 && coded > 0) out += card(fmt::format("{:.2f}", bytes / coded), "plain / coded");
  out += card(human_bytes(seconds > 0 ? bytes / seconds : 0) + "/s", "on average");
  out += card(fmt::format("{} of {}", j["chunks"]["done"].get<uint64_t>() + j["chunks"]["before"].get<uint64_t>(), j["chunks"]["total"].get<uint64_t>()), "chunks");
  out += card(std::to_string(j["workers"].size()), "workers");
  out += card(fmt::format("{} / {} / {}", j["reissued"].get<uint64_t>(), j["retried"].get<uint64_t>(), j["chunks"]["failed"].get<uint64_t>()),
              "chunks given again / tried again / failed");
  out += "</div>\n<h2>Throughput</h2>\n" + curve(fewer(j["throughput"], j["chunks"]["done"].get<size_t>() / 3));
  out += "<h2>Workers</h2>\n" + workers_table(j["workers"], seconds);
  if (!j["kinds"].empty()) out += "<h2>By kind of file</h2>\n" + ratio_table(j["kinds"], "ending");
  if (!j["shards"].empty()) out += "<h2>By shard</h2>\n" + ratio_table(j["shards"], "shard");
  if (!j["slowest"].empty()) {
    out += "<h2>Slowest chunks</h2>\n<p class=note>From the time a chunk was given out, so with its time in the worker's queue.</p>\n"
           "<div class=wide><table><tr><th>chunk<th class=n>text<th class=n>seconds<th>worker\n";
    for (const json& s : j["slowest"]) {
      out += fmt::format("<tr><td>{}<td class=n>{}<td class=n>{:.1f}<td>{}\n", escaped(s["what"].get<std::string>()),
                         human_bytes(s["bytes"].get<double>()), s["seconds"].get<double>(), escaped(s["worker"].get<std::string>()));
    }
    out += "</table></div>\n";
  }
  if (!j["remarks"].empty()) {
    out += "<h2>Remarks</h2>\n<ul>\n";
    for (const json& r : j["remarks"]) out += "<li>" + escaped(r.get<std::string>()) + "\n";
    out += "</ul>\n";
  }
  out += "<h2>Environment</h2>\n<div class=wide><table>\n";
  for (const auto& [key, value] : j["environment"].items()) {
    if (value.is_string()) out += "<tr><td>" + escaped(key) + "<td>" + escaped(value.get<std::string>()) + "\n";
  }
  for (const auto& [key, value] : j["environment"]["slurm"].items()) {
    out += "<tr><td>Slurm " + escaped(key) + "<td>" + escaped(value.get<std::string>()) + "\n";
  }
  return out + "</table></div>\n</html>\n";
}

}  // namespace llmc
