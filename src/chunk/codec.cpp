#include "chunk/codec.h"

#include <algorithm>
#include <new>

#include "chunk/lockstep.h"
#include "chunk/memory_feed.h"
#include "chunk/symbol_coder.h"

namespace llmc {
namespace {

Result<LockstepJob> make_job(const TokenEngine* engine, const CodecParameters& parameters, int streams) {
  LockstepJob job;
  job.engine = engine;
  job.codec = parameters.codec;
  job.streams = std::max(streams, 1);
  if (!engine) return job;
  if (engine->adaptation() != parameters.adaptation) {
    if (parameters.adaptation == Digest{}) return Status(Code::model, "the model is adapted, and the text was coded without an adaptation");
    return Status(Code::model, "the text was coded with the adaptation of sha256 " + to_hex(parameters.adaptation) +
                                   (engine->adaptation() == Digest{} ? ", and none is given" : ", not with " + to_hex(engine->adaptation())));
  }
  const auto context = static_cast<uint32_t>(engine->context());
  job.window = parameters.window ? parameters.window : context;
  job.carry = parameters.carry;
  if (job.window > context) {
    return Status(Code::model, "windows of " + std::to_string(job.window) + " tokens do not fit the model, whose context is " +
                                   std::to_string(context));
  }
  if (job.carry >= job.window) {
    return Status(Code::usage, "a carry of " + std::to_string(job.carry) + " tokens leaves no room in windows of " +
                                   std::to_string(job.window));
  }
  return job;
}

std::vector<ChunkItem> alone(ChunkItem item) {
  std::vector<ChunkItem> items;
  items.push_back(std::move(item));
  return items;
}

ChunkItem make_item(uint32_t chunk, uint32_t seed, uint32_t size, ByteView bytes) {
  return {0, chunk, seed, size, Bytes(bytes.begin(), bytes.end())};
}

Status out_of_memory() { return {Code::failure, "out of memory while coding"}; }

}  // namespace

Bytes CodecParameters::serialize() const {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(codec));
  out.u32(window);
  out.u32(carry);
  if (dictionary != 0) {
    out.u32(dictionary);
    out.u8(only_if_worth);
  }
  if (adaptation != Digest{}) out.bytes(adaptation);
  return out.take();
}

Result<CodecParameters> CodecParameters::parse(ByteView bytes) {
  ByteReader in(bytes);
  CodecParameters parameters;
  const uint8_t codec = in.u8();
  parameters.window = in.u32();
  parameters.carry = in.u32();
  constexpr size_t dictionary_bytes = 5;
  const bool with_adaptation = in.left() >= sizeof(Digest);
  const bool with_dictionary = in.left() % sizeof(Digest) == dictionary_bytes;
  uint8_t rule = 0;
  if (with_dictionary) {
    parameters.dictionary = in.u32();
    rule = in.u8();
    parameters.only_if_worth = rule == 1;
  }
  if (with_adaptation) {
    const ByteView digest = in.bytes(sizeof(Digest));
    std::copy(digest.begin(), digest.end(), parameters.adaptation.begin());
  }
  if (!in.done()) {
    return Status(Code::corrupt, "the coding parameters are " + std::to_string(bytes.size()) + " bytes long, not 9, 14, 41 or 46");
  }
  if (codec > static_cast<uint8_t>(Codec::rank)) {
    return Status(Code::failure, "codec " + std::to_string(codec) + " is not known to this version of llmc-batch");
  }
  parameters.codec = static_cast<Codec>(codec);
  if (with_dictionary && (parameters.dictionary == 0 || parameters.dictionary > max_dictionary_bytes || rule > 1 ||
                          parameters.codec != Codec::mix)) {
    return Status(Code::corrupt, "the coding parameters ask for a dictionary that cannot be");
  }
  if (with_adaptation && (parameters.adaptation == Digest{} || !is_model_codec(parameters.codec))) {
    return Status(Code::corrupt, "the coding parameters ask for an adaptation that cannot be");
  }
  if (parameters.window != 0 && parameters.carry >= parameters.window) {
    return Status(Code::corrupt, "the coding parameters carry " + std::to_string(parameters.carry) +
                                     " tokens into windows of " + std::to_string(parameters.window));
  }
  return parameters;
}

uint32_t frame_seed(const Digest& model, const CodecParameters& parameters, uint32_t shard, ByteView first_chunk) {
  ByteWriter head;
  head.bytes(model);
  head.bytes(parameters.serialize());
  head.u32(shard);
  Sha256 hash;
  hash.update(head.view());
  hash.update(first_chunk);
  const Digest digest = hash.finish();
  return ByteReader(digest).u32();
}

ChunkCodec::ChunkCodec(Engine* engine, const CodecParameters& parameters)
    : ChunkCodec(make_token_engine(engine), parameters) {}

ChunkCodec::ChunkCodec(std::unique_ptr<TokenEngine> engine, const CodecParameters& parameters)
    : engine_(std::move(engine)), parameters_(parameters), primed_(std::make_unique<PrimedStates>()) {}

ChunkCodec::~ChunkCodec() = default;

Status ChunkCodec::encode(ChunkFeed& feed, int streams) const {
  LLMC_ASSIGN(LockstepJob job, make_job(engine_.get(), parameters_, streams));
  job.primed = primed_.get();
  if (!engine_ && is_model_codec(job.codec)) {
    return {Code::model, std::string("codec ") + codec_name(job.codec) + " needs a model, and none is given"};
  }
  try {
    return encode_in_lockstep(job, feed);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Status ChunkCodec::decode(ChunkFeed& feed, int streams) const {
  LLMC_ASSIGN(LockstepJob job, make_job(engine_.get(), parameters_, streams));
  job.primed = primed_.get();
  try {
    return decode_in_lockstep(job, feed);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Result<Bytes> ChunkCodec::make_dictionary(const DictionaryWork& work, ChunkFeed& feed) const {
  if (!engine_) return Status(Code::model, "a dictionary needs a model, and none is given");
  LLMC_ASSIGN(const LockstepJob job, make_job(engine_.get(), parameters_, 1));
  try {
    LLMC_ASSIGN(Bytes frame, primed_->make(job, work, feed));
    if (frame.empty() || work.sample.empty()) return frame;
    const auto shared = std::make_shared<const Bytes>(frame);
    uint64_t before = 0, after = 0;
    for (const bool with : {false, true}) {
      std::vector<ChunkItem> items;
      for (const Bytes& text : work.sample) {
        items.push_back(make_item(0, 0, static_cast<uint32_t>(text.size()), text));
        items.back().seed = work.seed;
        if (with) items.back().dictionary = shared;
      }
      MemoryFeed inner(std::move(items), 1, &feed);
      LLMC_TRY(encode(inner, static_cast<int>(work.sample.size())));
      for (const Result<Bytes>& outcome : inner.outcomes()) {
        LLMC_TRY(outcome.status());
        (with ? after : before) += outcome->size();
      }
    }
    // Both sums times chunks / sample size, on one side of the fraction.
    const auto gain = (static_cast<__int128>(before) - static_cast<__int128>(after)) * work.chunks -
                      static_cast<__int128>(frame.size()) * work.sample.size();
    if (gain * 100 < static_cast<__int128>(before) * work.chunks * least_gain_percent) return Bytes();
    return frame;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Result<Bytes> ChunkCodec::encode_one(ChunkItem item) const {
  LLMC_ASSIGN(auto outcomes, encode_all(*this, alone(std::move(item)), 1));
  return std::move(outcomes[0]);
}

Result<Bytes> ChunkCodec::decode_one(ChunkItem item) const {
  LLMC_ASSIGN(auto outcomes, decode_all(*this, alone(std::move(item)), 1));
  return std::move(outcomes[0]);
}

Result<Bytes> encode_chunk(Engine* engine, const CodecParameters& parameters, uint32_t chunk, uint32_t seed,
                           ByteView text) {
  return ChunkCodec(engine, parameters).encode_one(make_item(chunk, seed, static_cast<uint32_t>(text.size()), text));
}

Result<Bytes> decode_frame(Engine* engine, const CodecParameters& parameters, uint32_t chunk, uint32_t seed,
                           ByteView frame, uint32_t text_size) {
  return ChunkCodec(engine, parameters).decode_one(make_item(chunk, seed, text_size, frame));
}

}  // namespace llmc
