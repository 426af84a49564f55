"""The plots of tools/evaluate.py as SVG, written by hand: bpb by kind of text, bpb against speed, bpb against chunks and windows."""
import collections
import html
import math
import os

# Colours that people with colour blindness tell apart (Okabe and Ito); beyond eight systems marks differ too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B", "#000000"]
SHAPES = ["circle", "square", "diamond", "triangle"]


class Figure:
    def __init__(self, width, height, title):
        self.width, self.height, self.parts = width, height, []
        self.text(16, 24, title, size=15, weight="bold")

    def add(self, part):
        self.parts.append(part)

    def text(self, x, y, words, size=12, anchor="start", weight="normal", colour="#222", turn=None):
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn is not None else ""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"{turned}>'
                 f"{html.escape(words)}</text>")

    def line(self, x1, y1, x2, y2, colour="#ddd", width=1.0):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>')

    def path(self, points, colour):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.add(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def mark(self, x, y, shape, colour, hollow=False, size=4.5):
        style = f'fill="white" stroke="{colour}" stroke-width="2"' if hollow else f'fill="{colour}" stroke="white" stroke-width="0.8"'
        if shape == "circle":
            return self.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {style}/>')
        corners = {"square": [(-1, -1), (1, -1), (1, 1), (-1, 1)], "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
                   "triangle": [(0, -1.25), (1.2, 0.95), (-1.2, 0.95)]}[shape]
        points = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in corners)
        self.add(f'<polygon points="{points}" {style}/>')

    def write(self, path):
        with open(path, "w") as f:
            f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
                    f'height="{self.height}" font-family="Helvetica, Arial, sans-serif">\n'
                    f'<rect width="{self.width}" height="{self.height}" fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


class Scale:
    """Maps values to places; linear or logarithmic."""

    def __init__(self, low, high, first, last, log=False):
        self.log, self.low, self.high, self.first, self.last = log, low, high, first, last

    def __call__(self, value):
        place = lambda v: math.log(v) if self.log else v
        part = (place(value) - place(self.low)) / (place(self.high) - place(self.low))
        return self.first + part * (self.last - self.first)


def ticks(low, high, wanted=6):
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, int(math.floor(high / step + 1e-9)) + 1)]


def styles(labels):
    return {label: (COLOURS[i % len(COLOURS)], SHAPES[(i // len(COLOURS) + i) % len(SHAPES)]) for i, label in enumerate(labels)}


def legend(figure, labels, style, x, y, width):
    """Rows of marks and names; returns the y below them."""
    at = x
    for label in labels:
        needed = 26 + 6.7 * len(label)
        if at + needed > x + width:
            at, y = x, y + 18
        figure.mark(at + 6, y - 4, style[label][1], style[label][0])
        figure.text(at + 16, y, label)
        at += needed
    return y + 14


def bpb(row, plain):
    return 8 * row["bytes"] / plain


def by_kind(data, path):
    """Archives of single texts; of systems that have none, the texts' frames in the archive of all."""
    kinds = collections.defaultdict(lambda: collections.defaultdict(list))
    labels = []
    for system in data["systems"]:
        alone = any(system in text["results"] for text in data["texts"].values())
        frames = data["together"].get(system, {}).get("frames", {})
        label = system if alone else system + " (frames)"
        for name, text in data["texts"].items():
            packed = text["results"].get(system, {}).get("bytes") if alone else frames.get(name)
            if packed is not None:
                kinds[text["kind"]][label].append((packed, text["bytes"]))
        labels += [label] if alone or frames else []
    if not labels:
        return
    value = lambda pairs: 8 * sum(b for b, _ in pairs) / sum(p for _, p in pairs)
    rows = sorted(((kind, {s: value(pairs) for s, pairs in of.items()}) for kind, of in kinds.items()),
                  key=lambda row: min(row[1].values()))
    style = styles(labels)
    figure = Figure(820, 110 + 22 * len(rows) + 18 * (len(labels) // 6), "Bits per byte, by kind of text")
    top = legend(figure, labels, style, 16, 48, 790) + 8
    left = 30 + 6.8 * max(len(kind) for kind, _ in rows)
    most = max(max(of.values()) for _, of in rows)
    scale, bottom = Scale(0, most * 1.03, left, 800), top + 22 * len(rows)
    for tick in ticks(0, most * 1.03, 8):
        figure.line(scale(tick), top, scale(tick), bottom)
        figure.text(scale(tick), bottom + 16, f"{tick:g}", size=11, anchor="middle")
    for i, (kind, of) in enumerate(rows):
        y = top + 22 * i + 11
        figure.text(left - 10, y + 4, kind, anchor="end")
        figure.line(scale(min(of.values())), y, scale(max(of.values())), y, "#bbb", 1.5)
        for label in reversed(labels):
            if label in of:
                figure.mark(scale(of[label]), y, style[label][1], style[label][0])
    figure.text((left + 800) / 2, bottom + 32, "bits per byte (less is better)", anchor="middle")
    figure.height = int(bottom + 44)
    figure.write(path)


def against_speed(data, labels, path):
    points = {s: data["summary"][s] for s in labels if s in data["summary"]}
    speeds = [p[k] for p in points.values() for k in ("compress_kb_s", "extract_kb_s")]
    low, high = 10 ** math.floor(math.log10(min(speeds))), 10 ** math.ceil(math.log10(max(speeds) * 1.01))
    values = [p["bpb"] for p in points.values()]
    spread = (max(values) - min(values)) or 0.2
    style = styles(labels)
    figure = Figure(820, 470, "Bits per byte against speed, all texts")
    across = Scale(low, high, 70, 700, log=True)
    down = Scale(min(values) - 0.08 * spread, max(values) + 0.08 * spread, 410, 70)
    power = low
    while power <= high * 1.001:
        figure.line(across(power), 70, across(power), 410)
        figure.text(across(power), 428, f"{power:,.0f}" if power >= 1 else f"{power:g}", size=11, anchor="middle")
        power *= 10
    for tick in ticks(down.low, down.high):
        figure.line(70, down(tick), 700, down(tick))
        figure.text(62, down(tick) + 4, f"{tick:g}", size=11, anchor="end")
    taken = []
    for label, p in sorted(points.items(), key=lambda item: item[1]["bpb"]):
        colour, shape = style[label]
        y, a, b = down(p["bpb"]), across(p["compress_kb_s"]), across(p["extract_kb_s"])
        figure.line(a, y, b, y, colour, 1.5)
        figure.mark(b, y, shape, colour, hollow=True)
        figure.mark(a, y, shape, colour)
        x, place = max(a, b) + 10, y + 4
        while any(abs(place - other) < 13 and abs(x - there) < 110 for there, other in taken):
            place -= 13
        taken.append((x, place))
        figure.text(x, place, label, colour=colour, weight="bold")
    figure.text(385, 450, "KB of text a second, whole process; filled: compress, hollow: extract", anchor="middle")
    figure.text(22, 240, "bits per byte (less is better)", anchor="middle", turn=-90)
    figure.write(path)


def sweeps(data, path):
    what = {"chunk": "bytes in a chunk", "window": "tokens in a window"}
    lines = collections.defaultdict(dict)
    for row in data["sweep"]:
        lines[row["what"], row["system"]][row["value"]] = bpb(row, row["plain_bytes"])
    panels = [w for w in what if any(key[0] == w for key in lines)]
    if not panels:
        return
    labels = [s for s in data["systems"] if any(key[1] == s for key in lines)]
    style = styles(labels)
    figure = Figure(820, 390, "Bits per byte against chunks and windows, all texts in one archive")
    top = legend(figure, labels, style, 16, 48, 790)
    values = [v for points in lines.values() for v in points.values()]
    spread = (max(values) - min(values)) or 0.1
    down = Scale(min(values) - 0.08 * spread, max(values) + 0.08 * spread, 330, top + 10)
    width = 720 / len(panels)
    for n, panel in enumerate(panels):
        left = 66 + n * (width + 24)
        xs = sorted({x for key, points in lines.items() if key[0] == panel for x in points})
        across = Scale(xs[0], xs[-1] if len(xs) > 1 else xs[0] * 2, left + 14, left + width - 14, log=True)
        for tick in ticks(down.low, down.high):
            figure.line(left, down(tick), left + width, down(tick))
            if n == 0:
                figure.text(left - 8, down(tick) + 4, f"{tick:g}", size=11, anchor="end")
        for x in xs:
            figure.line(across(x), 330, across(x), 335, "#888")
            name = f"{x >> 20}M" if x % (1 << 20) == 0 else f"{x >> 10}K" if x % 1024 == 0 else str(x)
            figure.text(across(x), 348, name, size=11, anchor="middle")
        for (where, label), points in lines.items():
            if where == panel:
                places = [(across(x), down(points[x])) for x in sorted(points)]
                figure.path(places, style[label][0])
                for x, y in places:
                    figure.mark(x, y, style[label][1], style[label][0])
        figure.text(left + width / 2, 370, what[panel], anchor="middle")
    figure.text(20, 210, "bits per byte", anchor="middle", turn=-90)
    figure.write(path)


def write_all(data, folder):
    labels = [s for s in data["systems"] if s in data["summary"]]
    by_kind(data, os.path.join(folder, "bpb.svg"))
    if labels:
        against_speed(data, labels, os.path.join(folder, "speed.svg"))
    sweeps(data, os.path.join(folder, "sweep.svg"))
