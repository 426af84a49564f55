"""The mix codec (MIX.md): binary decisions, the model's frequencies mixed with what the chunk has shown so far."""
import copy
import math

import numpy as np

M = 18 * 1024
U32 = 2**32 - 1
U64 = 2**64 - 1


# Section 2: tables

def log_table():
    table = []
    for i in range(4096):
        m, r = (4096 + i) << 19, 0
        for _ in range(16):
            m = m * m >> 31
            r *= 2
            if m >= 2**32:
                r, m = r + 1, m >> 1
        table.append(r + 32 >> 6)
    return table


LG = log_table()


def log(x):
    n = x.bit_length() - 1
    return 1024 * n + LG[(x << 31 - n) >> 19 & 4095]


def stretch(p):
    return min(max(log(p) - log(2**31 - p), -M), M)


ST12 = [stretch((2 * i + 1) << 18) for i in range(4096)]


def squash_table():
    s = 2**61
    for _ in range(5):
        s = math.isqrt(s << 62)
    table, e = [0] * 1154, 2**62
    for k in range(577):
        p = 2**93 // (2**62 + e)
        table[576 + k] = p
        table[576 - k] = 2**31 - p
        e = e * s >> 62
    table[1153] = table[1152]
    return table


SQ = squash_table()


def squash(x):
    y = x + M
    i = y >> 5
    return SQ[i] + ((SQ[i + 1] - SQ[i]) * (y & 31) >> 5)


PACE = [2**17 // (2 * n + 3) for n in range(1024)]


def hash2(a, b):
    h = (a * 0x9E3779B1 ^ (b + 0x7F4A7C15) * 0x85EBCA6B) & U32
    h ^= h >> 15
    h = h * 0x2C1B3C6D & U32
    return h ^ h >> 13


def hashes(a, *rest):
    for b in rest:
        a = hash2(a, b & U32)
    return a


THRESHOLDS = [-11264, -7680, -5632, -3840, -2560, -1536, -768, 0, 768, 1536, 2560, 3840, 5632, 7680, 11264]
CENTRES = [-14336, -9216, -6656, -4608, -3072, -2048, -1200, -400, 400, 1200, 2048, 3072, 4608, 6656, 9216, 14336]


def learn(chance, bit, limit):
    """chance is a list [c, n]."""
    c, n = chance
    chance[0] = c + (((2**22 - 1 if bit else 0) - c) * PACE[n] >> 16)
    if n < limit:
        chance[1] = n + 1


def look(chance):
    return ST12[chance[0] >> 10]


def fresh(x, n):
    return [squash(x) >> 9, n]


def clamp2(n, least, most):
    n = min(max(n, least), most)
    return 1 << (n - 1).bit_length()


def knot_row(n=10):
    return [fresh(1024 * k - M, n) for k in range(37)]


def read_knots(row, x):
    """The chance at log-odds x in 22 bits, and the knot that learns."""
    k = min((x + M) // 1024, 35)
    f = x + M - 1024 * k
    return (row[k][0] * (1024 - f) + row[k + 1][0] * f) // 1024, row[k + (f > 512)]


class Tree:
    """Leaves in the order of their bytes, the escape last."""

    def __init__(self, tokens, escape):
        order = sorted(range(len(tokens)), key=lambda i: (tokens[i], i))
        self.tokens = order + [len(tokens)] * escape  # by leaf
        self.text = [tokens[i] for i in order] + [b""] * escape
        self.leaves = len(self.tokens)
        self.depth = (self.leaves - 1).bit_length()

    def mid(self, node, d):
        below = self.depth - d
        return (node << below) - (1 << self.depth) + (1 << below - 1)


# Section 3

class Match:
    def __init__(self, tokens, places):
        self.tokens, self.places = tokens, [0] * places
        self.at = self.length = self.missed = 0


class History:
    def __init__(self, size):
        self.leaves = [0] * 16
        self.word = self.word_before = self.key = self.shape = 0
        self.field, self.fields, self.fields_before = 0, [16] + [0] * 255, [0] * 256
        self.line = self.line_before = 16
        places = clamp2(size // 4, 2**10, 2**22)
        self.matches = [Match(8, places), Match(2, places)]

    def last(self, n):
        return self.leaves[-n]

    def above(self, ahead):
        if self.fields_before[self.field] == 0:
            return 0
        at = self.fields_before[self.field] + len(self.leaves) - self.fields[self.field] + ahead
        return self.leaves[at] if at < self.fields[0] else 0

    def list_contexts(self):
        t = self.leaves[:-9:-1]
        column = len(self.leaves) - self.line
        first = self.leaves[self.line] if column > 0 else 0
        up = self.line_before + column
        by_column = self.leaves[up] if column > 0 and up < self.line else 0
        by_field = self.above(0)
        return [hashes(t[0], t[1], 0), hashes(t[0], t[1], t[2], 1), hashes(*t[:6], 2), hashes(self.word, 3),
                hashes(self.word_before, self.word, 4), hashes(self.shape & U32, self.shape >> 32, 5),
                hashes(self.key, t[0], 6), hashes(by_column, t[0], 7), hashes(first, column, 8),
                hashes(self.field, t[0], 9), hashes(self.field, by_field, 10),
                hashes(by_field, self.above(1), self.word, 11)]

    def append(self, leaf, text):
        self.leaves.append(leaf)
        for match in self.matches:
            self.follow(match, leaf)
        for c in text:
            self.read(c)
        if 10 in text:
            self.line_before, self.line = self.line, len(self.leaves) - 1
            self.fields_before = self.fields[:self.field + 1] + [0] * (255 - self.field)
            self.field, self.fields = 0, [len(self.leaves)] + self.fields_before[1:]

    def read(self, c):
        letter = 97 <= (c | 32) <= 122 or c >= 128
        digit = 48 <= c <= 57
        if letter:
            self.word = hash2(self.word, c | 32) | 1
        elif self.word:
            self.word_before, self.word = self.word, 0
        if c in b":=>":
            self.key = self.word_before
        kind = 48 if digit else 97 if letter else c
        if kind != self.shape & 255 or not (letter or digit):
            self.shape = (self.shape << 8 | kind) & U64
        if not letter and not digit and c not in b"_.-":
            self.field = min(self.field + 1, 255)
            self.fields[self.field] = len(self.leaves)

    def follow(self, m, leaf):
        leaves, n = self.leaves, len(self.leaves)
        if m.at:
            if leaves[m.at] == leaf:
                m.length += 1
                if m.length > 16:
                    m.missed = 0
            else:
                m.length = 0
                m.missed += 1
            m.at = 0 if m.missed > 8 else m.at + 1
        h = 0
        for k in range(1, m.tokens + 1):
            h = hash2(h, leaves[-k] + 1)
        z = (h >> 7) % len(m.places)
        c = m.places[z]
        if m.length < m.tokens and c:
            length = 0
            while length < 32 and length < c and leaves[c - 1 - length] == leaves[n - 1 - length]:
                length += 1
            if length >= m.tokens and length > m.length:
                m.at, m.length, m.missed = c, length, 0
        m.places[z] = n
        if m.at == 0:
            m.length = 0


# Section 4

class List:
    """Tokens that stood in one context: [leaf, count], the latest first, at most seven."""

    def __init__(self, check=0):
        self.check, self.places = check, []

    def worth(self):
        return 0 if self.check == 0 else 1 + sum(count for _, count in self.places[:2])

    def seen(self, leaf):
        count = 0
        for k, (other, n) in enumerate(self.places):
            if other == leaf:
                del self.places[k]
                count = n
                break
        else:
            del self.places[6:]
        self.places.insert(0, (leaf, min(count + 1, 255)))


class Bucket:
    """Slots 1 to 15 of [chance, recent, seen]."""

    def __init__(self, check=0):
        self.check, self.slots = check, [[32768, 1, 0] for _ in range(16)]


def find(table, make, at, check, worth):
    """The entry at `at` or its neighbour that has the check; or the one worth less, begun anew."""
    entries = []
    for i in (at, at ^ 1):
        if i not in table:
            table[i] = make()
        if table[i].check == check:
            return table[i]
        entries.append(table[i])
    entry = entries[0] if worth(entries[0]) <= worth(entries[1]) else entries[1]
    entry.__init__(check)  # in place: whoever holds it sees the change
    return entry


def count_class(n):
    return n if n < 4 else 4 if n < 6 else 5 if n < 9 else 6 if n < 16 else 7


def by_model(contexts):
    return [[fresh(c, 4) for c in CENTRES] for _ in range(contexts)]


LISTS, SLOTS, INPUTS, SETS = 12, 4, 40, 6
ROWS = [64, 512, 1024, 256, 512, 1024]


class Predictor:
    def __init__(self, tree, size):
        self.tree, self.history = tree, History(size)
        self.size = clamp2(size, 2**12, 2**22)
        self.lists, self.buckets = {}, {}
        twentieths = [0, 20, 40, 60, 90, 140, 240, 500]
        states = [[(r + 3) * 4194303 // (l + r + 6), 2] for _ in range(3) for l in twentieths for r in twentieths]
        self.list_chances = [[[c[:] for c in states] for _ in range(3)] for _ in range(LISTS)]
        self.list_model = [by_model(192) for _ in range(LISTS)]
        self.slot_model = [by_model(256) for _ in range(SLOTS)]
        self.match_chances = [[[3774873 if s & 1 else 419430, 2] for s in range(128)] for _ in range(2)]
        self.match_model = [by_model(128) for _ in range(2)]
        self.model_knots = [knot_row() for _ in range(max(tree.depth, 1))]
        self.final_knots = [{}, {}]
        self.weights = np.full((sum(ROWS), INPUTS), 2500, np.int64)
        self.weights[:, 0], self.weights[:, 1] = 2**16, 0
        self.seen = [0] * sum(ROWS)
        self.last_weights = [{}, {}]

    def begin(self):
        self.node, self.d, self.group = 1, 0, -1
        contexts = self.history.list_contexts()
        self.token_lists = [find(self.lists, List, (c >> 8) % self.size, c | 1, List.worth) for c in contexts]
        self.alive = [list(entry.places) for entry in self.token_lists]
        self.latest = [entry.places[0] if entry.places else None for entry in self.token_lists]
        self.expected = [self.history.leaves[m.at] if m.length else None for m in self.history.matches]

    def chance(self, q):
        """The chance of right, 31 bits, given the model's."""
        self.x0 = stretch(q)
        self.mid = self.tree.mid(self.node, self.d)
        self.sides = []
        for alive in self.alive:
            right = sum([n for leaf, n in alive if leaf >= self.mid])
            self.sides.append((sum([n for _, n in alive]) - right, right))
        self.used = None
        if self.agreed():
            return min(max(q, 64), 2**31 - 64)
        self.used = []  # chances that learn, with their limits
        self.bucket = sum(t <= self.x0 for t in THRESHOLDS)
        c, knot = read_knots(self.model_knots[self.d], self.x0)
        self.used.append((knot, 1000))
        x = [self.x0, ST12[c >> 10]]
        for i in range(LISTS):
            x += self.list_inputs(i)
        x += self.slot_inputs()
        self.match_state = 0
        for m in range(2):
            x += self.match_inputs(m)
        self.x = np.array(x + [1024] + [0] * (INPUTS - len(x) - 1), np.int64)
        return self.refine(self.mix())

    def agreed(self):
        if -11264 < self.x0 < 11264:
            return False
        right = self.x0 > 0
        return (all((l if right else r) == 0 for l, r in self.sides)
                and all(leaf is None or (leaf >= self.mid) == right for leaf in self.expected))

    def two(self, chance, chance_by_model, limit):
        c = chance_by_model[self.bucket]
        self.used += [(chance, limit), (c, limit)]
        return [look(chance), look(c) - CENTRES[self.bucket]]

    def list_inputs(self, i):
        left, right = self.sides[i]
        if left + right == 0:
            return [0, 0]
        latest = self.latest[i]
        alive = latest is not None and latest in self.alive[i]
        state = 64 * (0 if not alive else 1 if latest[0] < self.mid else 2) + 8 * count_class(left) + count_class(right)
        return self.two(self.list_chances[i][min(self.d // 4, 2)][state], self.list_model[i][state], 255)

    def slot_inputs(self):
        h, level = self.history, self.d % 4
        if self.group != self.d // 4:
            self.group = self.d // 4
            self.token_buckets = []
            for c in (hash2(12, 0), hash2(h.last(1), 13), hash2(h.word, 14), hash2(h.shape & U32, 15)):
                z = hash2(c, (self.node >> level) * 16777619 & U32)
                self.token_buckets.append(find(self.buckets, Bucket, (z >> 10) % (self.size // 2), z & 0xFFFF | 1,
                                               lambda b: b.slots[1][2]))
        at = 1 << level | self.node % (1 << level)
        self.slots, x = [b.slots[at] for b in self.token_buckets], []
        for i, (chance, recent, seen) in enumerate(self.slots):
            if seen:
                c = self.slot_model[i][recent][self.bucket]
                self.used.append((c, 255))
                x += [ST12[chance >> 4], look(c) - CENTRES[self.bucket]]
            else:
                x += [0, 0]
        return x

    def match_inputs(self, m):
        if self.expected[m] is None:
            return [0, 0]
        match, right = self.history.matches[m], int(self.expected[m] >= self.mid)
        n = min(match.length, 31)
        state = 2 * ((n if n < 16 else 16 + (n - 16) // 4) + (32 if match.missed else 0)) + right
        if self.match_state == 0:
            grade = 0 if match.missed or n < 4 else 1 if n < 8 else 2 if n < 16 else 3 if n < 24 else 4
            self.match_state = 1 + 2 * grade + right + 10 * m
        return self.two(self.match_chances[m][state], self.match_model[m][state], 400)

    def mix(self):
        h, d, node = self.history, self.d, self.node
        chosen = [2 * self.match_state + (self.bucket >= 8), node if node < 256 else 256 + 16 * (d - 8) + self.bucket,
                  h.last(1), hash2(h.shape & 0xFFFF, 0), h.last(2), 16 * h.field + d]
        self.rows, first = [], 0
        for row, rows in zip(chosen, ROWS):
            self.rows.append(first + row % rows)
            first += rows
        dots = (self.weights[self.rows] * self.x).sum(axis=1) >> 16
        self.dots = [min(max(int(dot), -M), M) for dot in dots]
        both = 0
        self.last = []  # weights and count, and the chance they gave
        for weights, row in zip(self.last_weights, (node if node < 1024 else 0, hash2(h.shape & 0xFF, 9) % 64)):
            v = weights.setdefault(row, [2**16 // SETS] * SETS + [0, 0])
            dot = sum(w * x for w, x in zip(v, self.dots + [self.x0])) >> 16
            dot = min(max(dot, -M), M)
            self.last.append((v, squash(dot)))
            both += dot
        return both >> 1

    def refine(self, z):
        total = 6 * squash(z)
        h = self.history
        for knots, context in zip(self.final_knots, (h.shape & 0xFFFF, h.field)):
            row = hash2(context, self.node) % 4096
            if row not in knots:
                knots[row] = knot_row()
            c, knot = read_knots(knots[row], z)
            self.used.append((knot, 1000))
            total += 5 * (c << 9)
        return min(max(total >> 4, 64), 2**31 - 64)

    def learn(self, bit):
        if self.used is not None:
            self.learn_weights(bit << 31)
            for chance, limit in self.used:
                learn(chance, bit, limit)
            for slot in self.slots:
                chance, recent, seen = slot
                slot[0] = chance + ((65535 * bit - chance) * PACE[seen] >> 16)
                slot[1] = 2 * recent + bit if recent < 128 else 128 + (2 * recent + bit) % 128
                slot[2] = min(seen + 1, 60)
        self.descend(bit)

    def learn_weights(self, truth):
        errors = []
        for row, dot in zip(self.rows, self.dots):
            pace = 20 + 112 * 128 // (128 + self.seen[row])
            self.seen[row] = min(self.seen[row] + 1, 16383)
            errors.append((truth - squash(dot) >> 15) * pace >> 8)
        step = (self.x * np.array(errors, np.int64)[:, None] + 8192) >> 14
        self.weights[self.rows] = np.clip(self.weights[self.rows] + step, -2**20, 2**20)
        for v, p in self.last:
            pace = 24 + 100 * 128 // (128 + v[-1])
            v[-1] = min(v[-1] + 1, 16383)
            e = (truth - p >> 15) * pace >> 10
            for i, x in enumerate(self.dots + [self.x0]):
                v[i] = min(max(v[i] + (x * e + 8192 >> 14), -2**20), 2**20)

    def descend(self, bit):
        mid = self.tree.mid(self.node, self.d)
        self.alive = [[place for place in alive if (place[0] >= mid) == bit] for alive in self.alive]
        self.expected = [leaf if leaf is not None and (leaf >= mid) == bit else None for leaf in self.expected]
        self.node = 2 * self.node + bit
        self.d += 1

    def end(self, leaf):
        for entry in self.token_lists:
            entry.seen(leaf)
        self.history.append(leaf, self.tree.text[leaf])


class MixDecoder:
    """Section 1"""

    def __init__(self, tree, size, coder, primed=None):
        self.tree, self.coder = tree, coder
        self.predictor = copy.deepcopy(primed, {id(tree): tree}) if primed else Predictor(tree, size)

    def token(self, weights):
        """The next token, `weights` those of all symbols by id."""
        tree, predictor = self.tree, self.predictor
        end = np.concatenate([[0], np.cumsum(weights[tree.tokens], dtype=np.int64)])
        predictor.begin()
        low = 0
        for d in range(tree.depth):
            mid, high = low + (1 << tree.depth - d - 1), min(low + (1 << tree.depth - d), tree.leaves)
            if mid >= tree.leaves:
                predictor.descend(0)
                continue
            node, right = int(end[high] - end[low]), int(end[high] - end[mid])
            sh = max(0, node.bit_length() - 32)
            q = min(max(((right >> sh) << 31) // (node >> sh), 1), 2**31 - 1)
            bit = self.coder.bit(predictor.chance(q))
            predictor.learn(bit)
            if bit:
                low = mid
        predictor.end(low)
        return tree.tokens[low]
