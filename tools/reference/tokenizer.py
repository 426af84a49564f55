"""What the tokens of a model stand for (MODEL.md section 1.1). Decoding needs no more than that."""
import re


def byte_alphabet():
    """Character -> byte: the alphabet of byte-level BPE."""
    own = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    alphabet = {chr(b): b for b in own}
    for b in range(256):
        if b not in own:
            alphabet[chr(0x100 + len(alphabet) - len(own))] = b
    return alphabet


def read_tokens(definition):
    """Of a parsed tokenizer.json: the bytes of each id, b"" for ids that no text yields; whether there is an escape."""
    vocabulary = definition["model"]["vocab"]
    added = {token["content"]: token["id"] for token in definition.get("added_tokens") or []}
    tokens = [b""] * (1 + max([*vocabulary.values(), *added.values()]))
    single = set()  # bytes that have a token of their own
    fallback = definition["model"].get("byte_fallback")
    alphabet = byte_alphabet()
    for token, number in vocabulary.items():
        if token in added:
            continue
        if not fallback:
            data = bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else b""
            single |= set(data) if len(data) == 1 else set()
        elif re.fullmatch("<0x[0-9A-F]{2}>", token):
            data = bytes([int(token[3:5], 16)])
            single |= set(data)
        else:
            data = b"" if " " in token else token.replace("\u2581", " ").encode()
        tokens[number] = data
    return tokens, len(single) < 256
