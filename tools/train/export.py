"""A trained network as a Hugging Face folder, which `llmc-batch model import` and transformers read."""
import json
import os
import shutil

import torch
from safetensors.torch import save_file


def write(training, tokenizer_path, folder, said):
    os.makedirs(folder, exist_ok=True)
    tensors = {name: t.detach().to("cpu", torch.bfloat16).contiguous() for name, t in training.network.state_dict().items()}
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    shutil.copyfile(tokenizer_path, os.path.join(folder, "tokenizer.json"))
    log = {"parameters": training.parameters, "recipe": training.recipe, "data": training.data, "steps": training.step,
           "seconds": round(training.seconds, 1), "tokens_seen": training.step * training.recipe["batch"] * training.recipe["context"],
           **said, "curve": training.curve}
    for name, what in (("config.json", training.network.config), ("train.json", log)):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(what, f, indent=1)
            f.write("\n")
    with open(os.path.join(folder, "README.md"), "w") as f:
        f.write(card(training, said))
    print(f"wrote {folder}", flush=True)


def card(training, said):
    """The part of a model card that the run itself knows; licence and sources of the text are for people to add."""
    r, d, bits = training.recipe, training.data, said["held_out_bits_per_byte"]
    return f"""---
license: unknown
model_name: {r.get("name", "unnamed")}
tags:
- compression
---

# {r.get("name", "unnamed")}

{r.get("about", "A language model that llmc-batch codes text with.")}

| | |
|---|---|
| parameters | {training.parameters:,} |
| shape | Qwen3: width {r["width"]}, {r["layers"]} layers, {r["heads"]} query heads and {r["kv_heads"]} for keys and values of {r["head_dim"]}, SwiGLU {r["ffn"]}, context {r["context"]}, tied embedding |
| vocabulary | {d["vocabulary"]:,} entries, byte-level BPE, digits one by one |
| training text | {d["bytes"]:,} bytes, {d["tokens"]:,} tokens; packs: {", ".join(d["packs"])} |
| training | {training.step:,} steps of {r["batch"]} × {r["context"]} tokens in {training.seconds / 60:.1f} minutes on {said["hardware"]} |
| held-out text | {bits["binary32"]:.4f} bits per byte in binary32, {bits["int8"]:.4f} with int8 weights, activations, keys and values |
"""
