// tokenize TOKENIZER < texts > ids
//   TOKENIZER: a tokenizer.json, a SentencePiece *.model, a *.tiktoken (with GPT-4's pattern) or a folder with one
//   of them or with vocab.json and merges.txt
//   texts: for each, its length (u32, little-endian) and its bytes
//   ids:   for each text, their count (u32) and the ids (i32); escapes are vocab + byte
// tokenize --speed TOKENIZER FILE...
//   seconds to load, then for each file bytes, tokens and MB/s (best of 5, chunks of 64 KiB)
// Exit status 1 where decoding the ids does not give the text back.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "tokens/convert.h"
#include "tokens/tokenizer.h"

using llmc::Bytes;
using llmc::ByteView;
using llmc::Symbol;
using llmc::Tokenizer;

namespace {

llmc::Result<Bytes> json_of(const std::string& path) {
  if (std::filesystem::is_directory(path)) return llmc::tokenizer_json_of_folder(path, "llama");
  LLMC_ASSIGN(Bytes file, llmc::read_file(path));
  if (path.ends_with(".model")) return llmc::tokenizer_json_of_sentencepiece(file);
  if (path.ends_with(".tiktoken")) return llmc::tokenizer_json_of_tiktoken(file, llmc::Pattern::gpt4, 0);
  return file;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int fail(const std::string& message) {
  std::fprintf(stderr, "tokenize: %s\n", message.c_str());
  return 1;
}

bool round_trips(const Tokenizer& tokenizer, ByteView text, const std::vector<Symbol>& ids) {
  Bytes back;
  return tokenizer.decode(ids, &back) && std::ranges::equal(back, text);
}

int serve(const Tokenizer& tokenizer) {
  uint32_t length = 0;
  Bytes text;
  std::vector<Symbol> ids;
  while (std::fread(&length, sizeof length, 1, stdin) == 1) {
    text.resize(length);
    // No text, no ids: a null pointer, which these two do not allow.
    if (length && std::fread(text.data(), 1, length, stdin) != length) return fail("standard input ends inside a text");
    ids.clear();
    tokenizer.encode(text, &ids);
    if (!round_trips(tokenizer, text, ids)) return fail("a text does not come back");
    const auto count = static_cast<uint32_t>(ids.size());
    if (std::fwrite(&count, sizeof count, 1, stdout) != 1 ||
        (count && std::fwrite(ids.data(), sizeof(Symbol), count, stdout) != count)) {
      return fail("cannot write to standard output");
    }
  }
  return std::fflush(stdout) == 0 ? 0 : fail("cannot write to standard output");
}

int speed(const Tokenizer& tokenizer, const std::vector<std::string>& files) {
  constexpr size_t kChunk = 64 << 10;
  for (const std::string& path : files) {
    auto text = llmc::read_file(path);
    if (!text.ok()) return fail(text.status().message());
    double best = 1e9;
    std::vector<Symbol> ids;
    for (int run = 0; run < 5; ++run) {
      ids.clear();
      const auto start = std::chrono::steady_clock::now();
      for (size_t at = 0; at < text->size(); at += kChunk) {
        tokenizer.encode(ByteView(*text).subspan(at, std::min(kChunk, text->size() - at)), &ids);
      }
      best = std::min(best, seconds_since(start));
    }
    if (!round_trips(tokenizer, *text, ids)) return fail(path + " does not come back");
    std::printf("%-40s %10zu bytes %9zu tokens %7.1f MB/s\n", path.c_str(), text->size(), ids.size(),
                text->size() / best / 1e6);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool measure = !arguments.empty() && arguments.front() == "--speed";
  if (measure) arguments.erase(arguments.begin());
  if (arguments.empty() || (!measure && arguments.size() != 1)) {
    std::fprintf(stderr, "usage: tokenize TOKENIZER | tokenize --speed TOKENIZER FILE...\n");
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto json = json_of(arguments.front());
  if (!json.ok()) return fail(json.status().message());
  const auto tokenizer = Tokenizer::from_json(*json);
  if (!tokenizer.ok()) return fail(arguments.front() + ": " + tokenizer.status().message());
  if (!measure) return serve(**tokenizer);
  std::printf("loaded in %.3f s\n", seconds_since(start));
  arguments.erase(arguments.begin());
  return speed(**tokenizer, arguments);
}
