"""Frames to text: windows, escapes and codecs (NUMERICS.md section 5, FORMAT.md section 3), many chunks in step."""
import struct

from coders import RangeDecoder, RankDecoder
from exact import Frequencies
from frame import Damage, unzstd
from mix import MixDecoder, Tree
from model import Cache


class Parameters:
    """FORMAT.md section 3.1."""

    def __init__(self, data):
        if len(data) not in (9, 14, 41, 46):
            raise Damage(f"the coding parameters are {len(data)} bytes long, not 9, 14, 41 or 46")
        self.codec, self.window, self.carry = struct.unpack_from("<BII", data)


class Stream:
    """One chunk on its way: what it has decoded and where it stands in its window."""

    def __init__(self, model, parameters, frame, tree, primed=None):
        self.model, self.frame = model, frame
        self.window, self.carry = parameters.window or model.context, parameters.carry
        if not self.carry < self.window <= model.context:
            raise Damage("the archive's windows do not fit the model")
        self.cache = Cache(model)
        self.fed = []  # ids: the start and the tokens, an escape as the start
        self.waiting = [model.start]  # ids to feed before the next token is known
        self.text = bytearray()
        self.tokens = 0
        room = 4 if frame.codec == "dictionary" else 0
        self.coder = RangeDecoder(frame.payload[room:])
        if frame.codec == "dictionary":
            size, = struct.unpack("<I", frame.payload[:4].ljust(4, b"\0"))
            if size < frame.size:
                raise Damage("the dictionary's tables are too small")
            self.mix = MixDecoder(tree, min(size, 2**20), self.coder)
        elif frame.codec == "primed":
            if primed is None:
                raise Damage("a chunk begins with a dictionary that there is not")
            self.mix = MixDecoder(tree, 0, self.coder, primed)
        elif frame.codec == "rank":
            self.ranks = RankDecoder(self.coder)
        elif frame.codec == "mix":
            self.mix = MixDecoder(tree, frame.size, self.coder)

    def run(self):
        """(cache, ids) for the next pass."""
        if self.cache.length == self.window:
            self.cache.length = 0
            self.waiting = [self.model.start, *(self.fed[-self.carry:] if self.carry else [])]
        return self.cache, self.waiting

    def take(self, logits):
        """Decodes the token that the last row of the run predicts."""
        model = self.model
        table = Frequencies(logits, model.escape)
        if self.frame.codec == "range":
            token = table.symbol_at(self.coder.target(table.total))
            self.coder.take(*table.interval(token), table.total)
        elif self.frame.codec == "rank":
            rank = self.ranks.rank()
            if rank >= len(table.w):
                raise Damage("the payload names a token that there is not")
            token = int(table.by_rank()[rank])
        else:
            token = self.mix.token(table.w)
        escaped = token == model.vocab
        data = bytes([self.coder.byte()]) if escaped else model.tokens[token]
        if not data:
            raise Damage("the payload names a token that no text yields")
        self.text += data
        self.tokens += 1
        self.waiting = [model.start if escaped else token]
        self.fed = (self.fed + self.waiting)[-self.carry:] if self.carry else []
        if len(self.text) > self.frame.size:
            raise Damage("the payload yields more text than the frame says")

    def done(self):
        if self.tokens < self.frame.tokens:
            return False
        if not self.coder.at_end():
            raise Damage("the payload goes on after its last token")
        return True


def read_dictionary(frame, model, parameters, tree):
    """What the predictor has learned behind the dictionary's last token (MIX.md section 11)."""
    stream = Stream(model, parameters, frame, tree)
    while not stream.done():
        stream.take(model.forward([stream.run()])[0])
    frame.checked(stream.text)
    return stream.mix.predictor


def decode(frames, model, parameters, streams=16, dictionary=None):
    """Yields the text of each frame in turn; `streams` of those that need the model are decoded in step.

    `dictionary`: gives the frame that those of codec primed begin with.
    """
    texts, active, next_out, number, tree, primed = {}, {}, 0, 0, None, None
    frames = iter(frames)
    more = True
    while more or active or texts:
        while more and len(active) < streams and len(texts) < 4 * streams:
            frame = next(frames, None)
            if frame is None:
                more = False
            elif frame.codec == "stored":
                texts[number] = frame.checked(frame.payload)
            elif frame.codec == "zstd":
                texts[number] = frame.checked(unzstd(frame.payload, frame.size))
            else:
                if model is None:
                    raise Damage("a frame needs the model, and none is given")
                if frame.codec in ("mix", "primed"):
                    tree = tree or Tree(model.tokens, model.escape)
                if frame.codec == "primed" and not primed:
                    primed = read_dictionary(dictionary(), model, parameters, tree)
                active[number] = Stream(model, parameters, frame, tree, primed)
            number += 1
        if active:
            runs = [stream.run() for stream in active.values()]
            logits = model.forward(runs)
            for (at, stream), row in zip(list(active.items()), logits):
                stream.take(row)
                if stream.done():
                    texts[at] = stream.frame.checked(stream.text)
                    del active[at]
        while next_out in texts:
            yield texts.pop(next_out)
            next_out += 1
