"""Bits per byte of texts with an exported model, in windows as the product cuts them (docs/NUMERICS.md, section 5)."""
import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

from network import Network


def load(folder, device):
    with open(os.path.join(folder, "config.json")) as f:
        network = Network(json.load(f))
    network.load_state_dict({name: t.float() for name, t in load_file(os.path.join(folder, "model.safetensors")).items()})
    return network.to(device).eval()


@torch.no_grad()
def text_bits(network, ids, carry, device):
    context, start, total, done = network.config["max_position_embeddings"], network.config["bos_token_id"], 0.0, 0
    while done < len(ids):
        kept = min(carry, done)
        wanted = ids[done:done + context - kept]
        fed = [start] + ids[done - kept:done] + wanted[:-1]
        logits = network(torch.tensor([fed], device=device))[0, kept:].float()
        total += float(F.cross_entropy(logits, torch.tensor(wanted, device=device), reduction="sum"))
        done += len(wanted)
    return total / math.log(2)


def show(folder, files, limit, carry):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load(folder, device)
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    carry = network.config["max_position_embeddings"] // 4 if carry is None else carry
    print("| text | bytes | bytes a token | binary32 | int8 | |\n|---|---:|---:|---:|---:|---:|")
    for path in files:
        with open(path, "rb") as f:
            raw = f.read(limit)
        ids = tokenizer.encode(raw.decode("utf-8", "ignore")).ids
        of = []
        for quantised in (False, True):
            network.quantise(quantised)
            of.append(text_bits(network, ids, carry, device) / len(raw))
        print(f"| {os.path.basename(path)} | {len(raw):,} | {len(raw) / len(ids):.2f} | {of[0]:.4f} | {of[1]:.4f} | "
              f"{100 * (of[1] / of[0] - 1):+.3f} % |", flush=True)
