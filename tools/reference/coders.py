"""The range coder's decoder (NUMERICS.md section 6) and the rank codec over it (FORMAT.md section 3.3), in integers."""

MASK = 2**64 - 1


class RangeDecoder:
    def __init__(self, payload):
        self.payload = payload
        self.read = 8
        self.code = int.from_bytes(payload[:8].ljust(8, b"\0"), "big")
        self.range = MASK

    def target(self, total):
        self.step = self.range // total
        return min(self.code // self.step, total - 1)

    def take(self, cum, weight, total):
        below = self.step * cum
        self.code -= below
        self.range = self.range - below if cum + weight == total else self.step * weight
        while self.range < 2**56:
            byte = self.payload[self.read] if self.read < len(self.payload) else 0
            self.read += 1
            self.code = (self.code << 8 | byte) & MASK
            self.range = self.range << 8

    def bit(self, p):
        """A binary decision whose chance of right is p / 2^31."""
        left = 2**31 - p
        right = self.target(2**31) >= left
        self.take(left if right else 0, p if right else left, 2**31)
        return int(right)

    def byte(self):
        byte = self.target(256)
        self.take(byte, 1, 256)
        return byte

    def at_end(self):
        """Whether an encoder could have written just these bytes for what was read."""
        return len(self.payload) + 7 <= self.read and self.payload[-1:] != b"\0"


class Chance:
    """An adaptive chance: a fast and a slow estimate of 22 bits."""

    def __init__(self):
        self.fast = self.slow = 2**21
        self.seen = 0

    def learn(self, right):
        self.seen = min(self.seen + 1, 512)
        self.fast = self.moved(self.fast, right, 6)
        self.slow = self.moved(self.slow, right, 9)

    def moved(self, estimate, right, shift):
        shift = min(self.seen.bit_length(), shift)
        return estimate + (2**22 - estimate >> shift) if right else estimate - (estimate >> shift)


class RankDecoder:
    """Ranks of tokens, coded like Elias's gamma code with adaptive decisions."""

    def __init__(self, coder):
        self.coder = coder
        self.chances = {}
        self.before = self.before_that = self.average = 0

    def chance(self, *name):
        return self.chances.setdefault(name, Chance())

    def decision(self, chances):
        p = (sum(c.fast + c.slow for c in chances) << 8) // len(chances)
        bit = self.coder.bit(min(max(p, 2**8), 2**31 - 2**8))
        for c in chances:
            c.learn(bit)
        return bit

    def rank(self):
        near = min(self.before, 5), min(self.before_that + 1, 7) // 2
        mean = min(self.average // 32, 15)
        bucket = 0
        while bucket < 19 and self.decision([self.chance("plain", bucket), self.chance("near", near, bucket),
                                             self.chance("mean", mean, bucket)]):
            bucket += 1
        value = 1
        for bit in range(bucket - 1, -1, -1):
            name = ("upper", bucket, value) if bucket - bit <= 2 else ("lower", bucket, bit)
            value = 2 * value + self.decision([self.chance(*name)])
        self.before_that, self.before = self.before, bucket
        step = bucket * 64 - self.average
        self.average += step // 16 if step >= 0 else -(-step // 16)  # towards zero
        return value - 1
