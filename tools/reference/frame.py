"""CRC-32C, zstd, and the frame around one coded chunk (FORMAT.md section 3)."""
import struct
import subprocess

CODECS = ["stored", "zstd", "range", "mix", "rank", "primed", "dictionary"]
HEADER = struct.Struct("<4sBBHIIIIII")
MOST_CHUNK_BYTES = 2**30
DICTIONARY = 0xFFFFFFFE  # the chunk number of a shard's dictionary
MOST_DICTIONARY_BYTES = 2**18


class Damage(Exception):
    """Bytes of an archive that are not as they were written."""


def crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc_table()


def crc32c(data, start=0):
    crc = ~start & 0xFFFFFFFF
    table = TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def unzstd(data, size):
    """The `size` bytes that one zstd frame unpacks to."""
    try:
        from compression import zstd  # Python 3.14 and later

        plain = zstd.ZstdDecompressor().decompress(data, max_length=size + 1)
    except ImportError:
        try:
            import zstandard

            plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        except ImportError:
            plain = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
    if len(plain) != size:
        raise Damage(f"zstd data unpacks to {len(plain)} bytes, not {size}")
    return plain


class Frame:
    def __init__(self, data, seed):
        if len(data) < HEADER.size:
            raise Damage("the frame is cut off")
        magic, version, codec, zero, self.chunk, self.size, self.tokens, payload, self.text_crc, crc = \
            HEADER.unpack_from(data)
        self.payload = data[HEADER.size:]
        if magic != b"\x8cLCF" or version != 1 or codec >= len(CODECS) or zero:
            raise Damage("not a frame of version 1")
        if crc32c(self.payload, crc32c(data[:28], seed)) != crc:
            raise Damage("the frame's checksum is wrong")
        self.codec = CODECS[codec]
        modelled = self.codec not in ("stored", "zstd")
        if (payload != len(self.payload) or self.size > MOST_CHUNK_BYTES
                or (not 1 <= self.tokens <= self.size if modelled else self.tokens != 0)
                or (payload != self.size if self.codec == "stored" else payload >= self.size)):
            raise Damage("the frame contradicts itself")
        if ((self.codec == "dictionary") != (self.chunk == DICTIONARY)
                or self.codec == "dictionary" and self.size > MOST_DICTIONARY_BYTES):
            raise Damage("the frame is neither that of a chunk nor a dictionary")

    def checked(self, text):
        if len(text) != self.size or crc32c(text) != self.text_crc:
            raise Damage("the decoded text does not match its checksum")
        return bytes(text)
