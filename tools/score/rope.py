"""RoPE tables by the algorithm of docs/MODEL.md in plain Python: prints the SHA-256 of the cosines and sines.

    rope.py THETA ROTARY POSITIONS
"""
import array
import hashlib
import math
import sys

LN2 = float.fromhex("0x1.62e42fefa39efp-1")
TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
P1, P2, P3 = (float.fromhex(x) for x in ("0x1.921fb544p+0", "0x1.0b4611a6p-34", "0x1.3198a2e037073p-69"))


def log2(x):
    e = 0.0
    while x >= 2.0:
        x, e = x * 0.5, e + 1.0
    t = (x - 1.0) / (x + 1.0)
    z, s = t * t, 0.0
    for j in range(20, -1, -1):
        s = s * z + 1.0 / (2.0 * j + 1.0)
    return e + ((2.0 * t) * s) / LN2


def exp2(x):
    n = float(math.floor(x + 0.5))
    y, s = (x - n) * LN2, 1.0
    for j in range(18, 0, -1):
        s = 1.0 + (y / j) * s
    while n < 0.0:
        s, n = s * 0.5, n + 1.0
    return s


def sincos(x):
    k = float(math.floor(x * TWO_OVER_PI + 0.5))
    r = ((x - k * P1) - k * P2) - k * P3
    z, s, c = r * r, 1.0, 1.0
    for i in range(10, 0, -1):
        s = 1.0 - (z / ((2.0 * i) * (2.0 * i + 1.0))) * s
        c = 1.0 - (z / ((2.0 * i - 1.0) * (2.0 * i))) * c
    s = r * s
    return ((s, c), (c, -s), (-s, -c), (-c, s))[int(k) & 3]


def table(theta, rotary, positions):
    l = log2(theta)
    f = [exp2(-((2.0 * i / rotary) * l)) for i in range(rotary // 2)]
    pairs = [sincos(p * x) for p in range(positions) for x in f]
    return array.array("f", (c for _, c in pairs)), array.array("f", (s for s, _ in pairs))


if __name__ == "__main__":
    cos, sin = table(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(hashlib.sha256(cos.tobytes() + sin.tobytes()).hexdigest())
