"""LLMC-X1: the operations of NUMERICS.md section 3, on numpy arrays of binary32.

Each line of floating point here is one correctly rounded IEEE-754 operation on binary32, or an exact multiplication by
a power of two (ldexp). All sums are sums of integers; those of matrix products are left to BLAS in a format that holds
every partial sum exactly. A *row* is the last axis of an array.
"""
import numpy as np

F = np.float32
np.seterr(all="ignore")  # infinities and NaN run into the range check

A8, A16 = 127, 32512  # largest integers of 8 and 16 bits
LOG2E = F(float.fromhex("0x1.715476p+0"))
EXP2 = [F(float.fromhex(c)) for c in ("0x1.62e430p-1", "0x1.ebfbdcp-3", "0x1.c6af7cp-5",
                                      "0x1.3b2de0p-7", "0x1.5f082ep-10", "0x1.416b5ep-13")]


class RangeError(Exception):
    """An activation of 2^60 or more, infinite or NaN."""


def check_machine():
    """Subnormals live, products are not fused with sums, ties go to even."""
    a = np.array([2.0**-126, 1 + 2.0**-12, 2.5], F)
    assert a[0] * F(0.5) != 0
    assert a[1] * a[1] - F(1 + 2.0**-11) == 0
    assert np.rint(a[2]) == 2 and np.array([2**24 + 1]).astype(F)[0] == F(2**24)


def is_f32(*arrays):
    for x in arrays:
        assert x.dtype == F, x.dtype
    return arrays[0]


def largest(x):
    """max|x| of each row as binary32, checked (section 1, rule 4)."""
    bits = (is_f32(x).view(np.uint32) & np.uint32(0x7FFFFFFF)).max(axis=-1)
    if (bits >= 0x5D800000).any():
        raise RangeError("an activation is out of range")
    return bits.view(F)


def exponent(a):
    """E(a) of normal values; anything for others."""
    return (is_f32(a).view(np.uint32) >> 23).astype(np.int32) - 127


def quantise(x, m):
    """3.3: the integers of each row (as binary32, which holds them) and the scale of each row."""
    a = largest(x)
    tiny = a < F(2.0**-60)
    a = np.where(tiny, F(1), a)
    s = a / F(m)
    inv = F(m) / a
    q = np.clip(np.rint(x * inv[..., None]), F(-m), F(m))
    q = np.where(tiny[..., None], F(0), q)
    return is_f32(q), is_f32(np.where(tiny, F(0), s))


class Linear:
    """3.4: weights int8 [n][k], scale and bias (or None) binary32 [n], m the range of its input."""

    def __init__(self, weights, scale, m, bias=None):
        bound = 127 * m * weights.shape[1]  # of every partial sum, in any order
        assert bound < 2**53
        self.w = weights.T.astype(F if bound < 2**24 else np.float64)
        self.sw, self.bias = is_f32(scale), bias
        self.m = m

    def __call__(self, x):
        q, s = quantise(x, self.m)
        acc = q.astype(self.w.dtype) @ self.w + self.w.dtype.type(0)  # adding 0 turns -0 into the integer's 0
        y = acc.astype(F) * (s[..., None] * self.sw)
        return is_f32(y if self.bias is None else y + self.bias)


def rms_norm(x, g, eps):
    """3.5"""
    a = largest(x)
    e = exponent(a)
    t = np.rint(np.ldexp(x, 17 - e[..., None])).astype(np.int64)
    ss = (t * t).sum(axis=-1, dtype=np.int64)
    ms = np.ldexp(ss.astype(F) / F(x.shape[-1]), 2 * (e - 17))
    ms = np.where(a < F(2.0**-40), F(0), ms)
    r = F(1) / np.sqrt(ms + eps)
    return is_f32((x * r[..., None]) * g)


def layer_norm(x, g, b, eps):
    """3.6"""
    n = x.shape[-1]
    a = largest(x)
    tiny = a < F(2.0**-40)
    e = exponent(a)
    t = np.rint(np.ldexp(x, 17 - e[..., None])).astype(np.int64)
    s = t.sum(axis=-1, dtype=np.int64)
    m = (2 * s + n) // (2 * n)  # rounds down
    q = ((t - m[..., None]) ** 2).sum(axis=-1, dtype=np.int64)
    mean = np.where(tiny, F(0), np.ldexp(s.astype(F) / F(n), e - 17))
    var = np.where(tiny, F(0), np.ldexp(q.astype(F) / F(n), 2 * (e - 17)))
    r = F(1) / np.sqrt(var + eps)
    return is_f32((((x - mean[..., None]) * r[..., None]) * g) + b)


def exp2(x):
    """3.7, for x <= 0"""
    zero = is_f32(x) < F(-125)
    x = np.maximum(x, F(-126))
    n = np.rint(x)
    f = x - n
    p = EXP2[5] * np.ones_like(f)
    for c in EXP2[4::-1]:
        p = p * f + c
    p = p * f + F(1)
    return is_f32(np.where(zero, F(0), np.ldexp(p, n.astype(np.int32))))


def silu_mul(g, up):
    """3.8"""
    e = exp2(-np.abs(g) * LOG2E)
    sig = np.where(g >= 0, F(1), e) / (F(1) + e)
    return is_f32((g * sig) * up)


def gelu(x, by_tanh):
    """3.14, without the gate"""
    def number(text):
        return F(float.fromhex(text))

    if by_tanh:
        w = (x * number("0x1.988454p+0")) * (F(1) + ((x * x) * number("0x1.6e4e26p-5")))
        e = exp2(-np.abs(w) * LOG2E)
        return is_f32(x * (np.where(w >= 0, F(1), e) / (F(1) + e)))
    t = F(1) / (F(1) + (number("0x1.da6710p-3") * np.abs(x)))
    h = number("0x1.0fb844p-1")
    for c in ("-0x1.7401c6p-1", "0x1.6be1c6p-1", "-0x1.23531cp-3", "0x1.04f20cp-3"):
        h = (h * t) + number(c)
    tail = (h * t) * exp2((x * x) * number("-0x1.715476p-1"))
    return is_f32(x * np.where(x >= 0, F(1) - tail, tail))


def rope(x, cos, sin, pairs):
    """3.9: x [rows][heads][head size], tables [rows][rotary / 2]."""
    half = cos.shape[-1]
    first = slice(0, half) if pairs == "halves" else slice(0, 2 * half, 2)
    second = slice(half, 2 * half) if pairs == "halves" else slice(1, 2 * half, 2)
    c, s = cos[:, None, :], sin[:, None, :]
    x0, x1 = x[..., first], x[..., second]
    out = x.copy()
    out[..., first] = (x0 * c) - (x1 * s)
    out[..., second] = (x1 * c) + (x0 * s)
    return is_f32(out)


def quantise_value(v, m=A8):
    """3.10: the integers of each row, and its exponent."""
    a = largest(v)
    bits = a.view(np.uint32)
    below = np.where((bits & 0x7FFFFF) <= 0x7E0000, np.int32(0), np.int32(1)) - np.int32(6 if m == A8 else 14)
    tiny = a < F(2.0**-60)
    e = np.where(tiny, np.int32(-66 if m == A8 else -74), exponent(a) + below)
    q = np.rint(np.ldexp(v, -e[..., None]))
    return is_f32(np.where(tiny[..., None], F(0), q)), e


def attention(q, k, sk, v, ev, c):
    """3.11 for one token: q [heads][D]; k, v integers [kv heads][n][D]; sk, ev [kv heads][n]; c the softmax scale."""
    heads, size = q.shape
    kv_heads = k.shape[0]
    q, sq = quantise(q, A16)
    q = q.reshape(kv_heads, heads // kv_heads, size).astype(np.float64)
    sq = sq.reshape(kv_heads, -1, 1)
    dots = q @ k.astype(np.float64).transpose(0, 2, 1) + 0.0
    t = dots.astype(F) * ((sq * c) * is_f32(sk)[:, None, :])
    top = t.max(axis=-1, keepdims=True)
    largest(top)
    p = exp2(t - top)
    u = np.rint(p * F(A16))
    total = u.astype(np.int64).sum(axis=-1, dtype=np.int64)
    ev = np.broadcast_to(ev[:, None, :], u.shape)
    top_e = np.where(u > 0, ev, -10000).max(axis=-1, keepdims=True).astype(np.int32)
    w = np.where(u > 0, np.rint(p * np.ldexp(F(A16), ev - top_e)), F(0))
    o = w.astype(np.float64) @ v.astype(np.float64) + 0.0
    o = np.ldexp(o.astype(F) / total.astype(F)[..., None], top_e)
    return is_f32(o.reshape(heads, size))


class Frequencies:
    """3.13: what one row of logits says about the next symbol."""

    def __init__(self, logits, escape):
        largest(logits)
        self.t = is_f32(logits) * LOG2E
        p = exp2(self.t - self.t.max())
        w = 1 + np.trunc(p * F(2.0**30)).astype(np.int64)
        self.w = np.append(w, np.int64(1)) if escape else w
        self.end = np.cumsum(self.w, dtype=np.int64)  # cum + W
        self.total = int(self.end[-1])

    def interval(self, symbol):
        """(cum, W)"""
        w = int(self.w[symbol])
        return int(self.end[symbol]) - w, w

    def symbol_at(self, target):
        return int(np.searchsorted(self.end, target, side="right"))

    def by_rank(self):
        """Symbols by rank; comparing -0 and 0 as equal, ties by id; the escape last."""
        order = np.argsort(-self.t, kind="stable")
        return order if len(order) == len(self.w) else np.append(order, len(order))
