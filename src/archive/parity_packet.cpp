#include "archive/parity_packet.h"

#include <bit>
#include <map>

#include "archive/scan_window.h"

namespace llmc {
namespace {

constexpr size_t packet_crc_at = 12, crc_begin = 16;

uint32_t packet_crc(ByteView packet) { return crc32c(packet.subspan(crc_begin), crc32c(packet.subspan(8, 4))); }

uint64_t table_packets(const ParityShape& shape) { return (shape.blocks() + parity_table_entries - 1) / parity_table_entries; }

uint32_t expected_payload(const ParityShape& shape, ParityPacket::Type type, uint64_t number) {
  if (type == ParityPacket::Type::parity) return shape.block_bytes;
  const uint64_t first = number * parity_table_entries;
  return static_cast<uint32_t>(std::min<uint64_t>(parity_table_entries, shape.blocks() - first) * parity_entry_bytes);
}

}  // namespace

ParityTable::Block parity_block_sums(ByteView block) {
  const Digest digest = sha256(block);
  ByteReader in(digest);
  return {crc32c(block, 0xFFFFFFFF), in.u32(), true};
}

Bytes ParityPacket::serialize(const ParityShape& shape, Type type, uint64_t number, ByteView payload) {
  ByteWriter out;
  out.bytes(as_bytes(parity_magic));
  out.u32(static_cast<uint32_t>(type));
  out.u32(0);  // the CRC
  out.u64(shape.file_bytes);
  out.u32(shape.block_bytes);
  out.u16(static_cast<uint16_t>(shape.data));
  out.u16(static_cast<uint16_t>(shape.parity));
  out.u64(number);
  out.u32(static_cast<uint32_t>(payload.size()));
  out.u32(0);
  out.bytes(shape.file);
  out.bytes(payload);
  Bytes packet = out.take();
  const uint32_t crc = packet_crc(packet);
  std::memcpy(packet.data() + packet_crc_at, &crc, sizeof crc);
  return packet;
}

bool ParityPacket::crc_fits(ByteView packet) {
  ByteReader in(packet.subspan(packet_crc_at, 4));
  return in.u32() == packet_crc(packet);
}

std::optional<ParityPacket> ParityPacket::parse_header(ByteView header) {
  if (header.size() < parity_header_bytes) return std::nullopt;
  ByteReader in(header);
  if (as_text(in.bytes(8)) != parity_magic) return std::nullopt;
  ParityPacket p;
  const uint32_t type = in.u32();
  p.type = static_cast<Type>(type);
  p.crc = in.u32();
  p.shape.file_bytes = in.u64();
  p.shape.block_bytes = in.u32();
  p.shape.data = in.u16();
  p.shape.parity = in.u16();
  p.number = in.u64();
  p.payload_bytes = in.u32();
  const uint32_t zero = in.u32();
  const ByteView digest = in.bytes(p.shape.file.size());
  std::copy(digest.begin(), digest.end(), p.shape.file.begin());
  const ParityShape& s = p.shape;
  if (type < 1 || type > 2 || zero != 0 || s.file_bytes == 0 || s.file_bytes > uint64_t{1} << 62 ||
      s.block_bytes < 512 || s.block_bytes > max_parity_block || !std::has_single_bit(s.block_bytes) || s.data == 0 ||
      s.parity == 0 || s.data + s.parity > max_parity_stripe) {
    return std::nullopt;
  }
  const uint64_t count = p.type == Type::parity ? s.stripes() * s.parity : table_packets(s);
  if (p.number >= count || p.payload_bytes != expected_payload(s, p.type, p.number)) return std::nullopt;
  return p;
}

Result<ParityTable> ParityTable::load(const std::filesystem::path& path, const StopRequest& stop) {
  LLMC_ASSIGN(const File file, File::open_read(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  ScanWindow window(file, size, stop);
  struct Found {
    uint64_t offset;
    ParityPacket packet;
  };
  // One file may hold packets of another after an accident: those of the largest family count.
  std::map<Digest, std::vector<Found>> families;
  bool gaps = false;
  for (uint64_t at = 0; at < size;) {
    const uint64_t found = window.find(at, parity_magic);
    gaps |= found != at;
    if (found >= size) break;
    at = found + 1;
    const auto packet = ParityPacket::parse_header(window.at(found, parity_header_bytes));
    if (!packet) continue;
    const uint64_t length = parity_header_bytes + packet->payload_bytes;
    const ByteView bytes = window.at(found, length);
    if (bytes.size() != length || !ParityPacket::crc_fits(bytes)) continue;
    families[packet->shape.file].push_back({found, *packet});
    at = found + length;
  }
  const auto ended = [&] { return window.stopped() ? Status(Code::interrupted, "interrupted") : window.failure(); };
  LLMC_TRY(ended());
  const std::vector<Found>* best = nullptr;
  for (const auto& [digest, family] : families) {
    if (!best || family.size() > best->size()) best = &family;
  }
  const Status nothing(Code::corrupt, printable(path.native()) + ": no usable parity in it");
  if (!best) return nothing;
  ParityTable table;
  table.shape = best->front().packet.shape;
  const ParityShape& shape = table.shape;
  // What a forged header may make us take is bounded by the bytes that are there.
  const uint64_t parities = shape.stripes() * shape.parity;
  if (shape.blocks() > size / 4 + 65536 || parities > size / 64 + 65536) return nothing;
  table.blocks.resize(shape.blocks());
  table.parity_offsets.resize(parities);
  uint64_t copies = 0, rows = 0;
  for (const Found& f : *best) {
    if (f.packet.shape != shape) continue;
    if (f.packet.type == ParityPacket::Type::parity) {
      rows += table.parity_offsets[f.packet.number] == 0;
      table.parity_offsets[f.packet.number] = f.offset + parity_header_bytes;
      continue;
    }
    ++copies;
    ByteReader in(window.at(f.offset + parity_header_bytes, f.packet.payload_bytes));
    for (uint64_t block = f.packet.number * parity_table_entries; in.left(); ++block) {
      const uint32_t crc = in.u32(), sha = in.u32();
      table.blocks[block] = {crc, sha, true};
    }
  }
  LLMC_TRY(ended());
  table.whole = !gaps && families.size() == 1 && copies == 2 * table_packets(shape) && rows == parities &&
                best->size() == copies + parities;
  return table;
}

}  // namespace llmc
