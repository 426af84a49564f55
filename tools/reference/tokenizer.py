"""What the tokens of a model stand for (MODEL.md section 1.1). Decoding needs no more than that."""


def byte_alphabet():
    """Character -> byte: the alphabet of byte-level BPE."""
    own = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    alphabet = {chr(b): b for b in own}
    for b in range(256):
        if b not in own:
            alphabet[chr(0x100 + len(alphabet) - len(own))] = b
    return alphabet


def token_bytes(definition):
    """The bytes of each id of a parsed tokenizer.json; b"" for ids that no text yields."""
    alphabet = byte_alphabet()
    vocabulary = dict(definition["model"]["vocab"])
    added = {token["content"]: token["id"] for token in definition.get("added_tokens") or []}
    size = 1 + max([*vocabulary.values(), *added.values()])
    tokens = [b""] * size
    for token, number in vocabulary.items():
        if token not in added and all(c in alphabet for c in token):
            tokens[number] = bytes(alphabet[c] for c in token)
    return tokens


def needs_escape(tokens):
    """Whether some byte has no token of its own."""
    return len({t for t in tokens if len(t) == 1}) < 256
