#!/usr/bin/env python3
"""Small random checkpoints of every family that import knows, with what transformers makes of a text in binary32.

    python tools/families/make_fixtures.py OUT [--seed 1] [--only NAME]
    python tools/families/make_fixtures.py --blocks OUT_FILE

Writes OUT/NAME/{config.json,model.safetensors,tokenizer.json,golden.json}; golden.json has a text and its ids; then
ids, the text's first and then such as the model itself draws, the id fed first, and per id the bits (-log2 of its
probability) and the rank. Where GGUF can say what the model is, also model.gguf, as llama.cpp's converter writes it.
tests/model/families was made with seed 1; tests/model/family_test.cpp reads it, or the folder in LLMC_FAMILIES.

Weights are whole numbers up to 127 times a power of two, 127 in every row, so that int8 loses nothing: what is left is
the arithmetic of activations, keys and values. --blocks writes random blocks of each GGUF type with the floats that
gguf-py makes of them.

Needs torch, transformers, tokenizers, safetensors, gguf (pip; versions in the file that it writes).
"""
import argparse
import json
import math
import os
import shutil

import numpy as np

TEXT = ("It was eleven minutes slow. \"It always was,\" said Anna; the tide came late as well.\n"
        "for (int i = 0; i < 12; ++i) sum += x[i] * 0.25;\n| id | name |\n| 7 | stra\u00dfe |\n") * 2


def llama(**more):
    return {**dict(hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=0), **more}


def rope(kind="default", theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


# family name -> (transformers' configuration class, its arguments)
FAMILIES = {
    "llama": ("LlamaConfig", llama(rope_parameters=rope(), tie_word_embeddings=False)),
    "llama3": ("LlamaConfig", llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
                                    rope_parameters=rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0,
                                                         high_freq_factor=4.0,
                                                         original_max_position_embeddings=64))),
    "mistral": ("MistralConfig", llama(sliding_window=24, num_attention_heads=6, head_dim=8, rope_parameters=rope(theta=1e6),
                                       tie_word_embeddings=False)),
    "qwen2": ("Qwen2Config", llama(hidden_size=48, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True, rope_parameters=rope(theta=1e6))),
    "qwen3": ("Qwen3Config", llama(num_attention_heads=5, num_key_value_heads=1, head_dim=16, use_sliding_window=True, sliding_window=20,
                                   layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=True,
                                   rope_parameters=rope(theta=1e6))),
    "qwen3_plain": ("Qwen3Config", llama(num_attention_heads=3, num_key_value_heads=3, head_dim=8, tie_word_embeddings=True, rope_parameters=rope())),
    "gpt2": ("GPT2Config", dict(n_embd=24, n_layer=2, n_head=3, n_positions=512, bos_token_id=0, eos_token_id=0)),
    "gpt_neox": ("GPTNeoXConfig", dict(hidden_size=48, intermediate_size=56, num_hidden_layers=2, num_attention_heads=3,
                                       max_position_embeddings=512, rope_parameters=rope(partial_rotary_factor=0.25),
                                       bos_token_id=0, eos_token_id=0, tie_word_embeddings=False)),
    "gpt_neox_sequential": ("GPTNeoXConfig", dict(hidden_size=40, intermediate_size=48, num_hidden_layers=2,
                                                  num_attention_heads=1, max_position_embeddings=512,
                                                  rope_parameters=rope(partial_rotary_factor=0.8),
                                                  use_parallel_residual=False, attention_bias=False,
                                                  hidden_act="gelu_new", bos_token_id=0, eos_token_id=0,
                                                  tie_word_embeddings=True)),
}


def tokenizer_json():
    """All bytes and a few merges."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letter = {b: chr(b) for b in own}
    letter.update({b: chr(0x100 + i) for i, b in enumerate(b for b in range(256) if b not in letter)})
    vocab = {"<|endoftext|>": 0}
    for b in range(256):
        vocab[letter[b]] = 1 + b
    merges = []
    space = letter[32]
    for a, b in [("t", "h"), ("th", "e"), (space, "the"), ("i", "n"), (space, "s"), ("a", "s"), (space, "w"),
                 (space + "w", "as"), ("+", "+"), ("m", "e")]:
        if a + b not in vocab:
            vocab[a + b] = len(vocab)
        if a not in vocab or b not in vocab:
            continue
        merges.append([a, b])
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False, "special": True}],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": merges}}


def on_grid(rng, shape, spread):
    """Rows of whole numbers times a power of two whose standard deviation is about `spread`."""
    step = 2.0 ** round(math.log2(spread / 42))
    q = np.clip(np.rint(rng.normal(0, 42, shape)), -127, 127)
    q[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = rng.choice([-127, 127], shape[0])
    return (q * step).astype(np.float32)


def fill(model, rng, torch):
    for name, p in model.named_parameters():
        if p.dim() == 2 and "wpe" not in name:
            transposed = type(model).__name__.startswith("GPT2") and ".h." in name
            rows, columns = p.shape[::-1] if transposed else p.shape
            head = "lm_head" in name or "embed" in name or "wte" in name
            w = on_grid(rng, (rows, columns), 0.12 if head else 1.2 / math.sqrt(columns))
            w = w.T if transposed else w
        elif p.dim() == 2:
            w = rng.normal(0, 0.1, p.shape)
        elif name.endswith("bias"):
            w = rng.normal(0, 0.1, p.shape)
        else:
            w = 1 + rng.normal(0, 0.1, p.shape)
        p.data = torch.tensor(np.ascontiguousarray(w, dtype=np.float32)).to(torch.bfloat16).to(torch.float32)


def make(name, out, seed):
    import torch
    import transformers
    from safetensors.torch import save_file
    from tokenizers import Tokenizer

    transformers.logging.set_verbosity_error()
    kind, arguments = FAMILIES[name]
    tokenizer = tokenizer_json()
    arguments = dict(arguments, vocab_size=len(tokenizer["model"]["vocab"]) + 5)  # rows of padding, as real ones have
    config = getattr(transformers, kind)(**arguments)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32).eval()
    rng = np.random.default_rng([seed, sum(name.encode())])
    fill(model, rng, torch)
    model.tie_weights()

    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    config.architectures = [type(model).__name__]
    with open(folder + "/config.json", "w") as f:
        json.dump(config.to_dict(), f, indent=1, sort_keys=True)
    tensors = {}
    for key, t in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings or key == "embed_out.weight" and config.tie_word_embeddings:
            continue
        tensors[key] = t.to(torch.bfloat16).contiguous()
    save_file(tensors, folder + "/model.safetensors", metadata={"format": "pt"})
    with open(folder + "/tokenizer.json", "w") as f:
        json.dump(tokenizer, f)

    text_ids = Tokenizer.from_file(folder + "/tokenizer.json").encode(TEXT).ids
    vocab = len(tokenizer["model"]["vocab"])

    def logits(fed):
        with torch.no_grad():
            return model(torch.tensor([fed])).logits[0].double().numpy()[:, :vocab]

    ids = text_ids[:40]
    while len(ids) < 300:
        last = logits([0] + ids)[-1]
        p = np.exp(last - last.max())
        ids.append(int(rng.choice(vocab, p=p / p.sum())))
    y = logits([0] + ids[:-1])
    top = y.max(-1, keepdims=True)
    target = y[np.arange(len(ids)), ids]
    bits = (np.log(np.exp(y - top).sum(-1)) + top[:, 0] - target) / math.log(2)
    before = (y > target[:, None]).sum(-1) + ((y == target[:, None]) & (np.arange(y.shape[1]) < np.array(ids)[:, None])).sum(-1)
    golden = {"made with": f"transformers {transformers.__version__}, torch {torch.__version__}", "seed": seed,
              "text": TEXT, "text_ids": text_ids, "start": 0, "ids": ids, "bits": [round(float(b), 5) for b in bits],
              "ranks": [int(r) for r in before]}
    with open(folder + "/golden.json", "w") as f:
        json.dump(golden, f)
    if name in GGUF:
        write_gguf(name, folder, config, tokenizer, model)
    size = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
    print(f"{name}: {len(ids)} tokens, {bits.mean():.3f} bits each, {size} bytes")


# family name -> GGUF's architecture; the others have what it cannot say (windows of some layers, another activation).
GGUF = {"llama": "llama", "llama3": "llama", "qwen2": "qwen2", "qwen3_plain": "qwen3", "gpt2": "gpt2", "gpt_neox": "gptneox"}


def interleave(a, heads):
    """Rows of q and k of a llama: llama.cpp turns neighbours where the checkpoint turned halves."""
    rest = a.shape[1:]
    return a.reshape(heads, 2, a.shape[0] // heads // 2, *rest).swapaxes(1, 2).reshape(a.shape)


def as_llama_cpp(kind, key, a, config):
    """A tensor as llama.cpp's converter changes it (convert_hf_to_gguf.py)."""
    if kind == "llama" and ".q_proj." in key:
        return interleave(a, config.num_attention_heads)
    if kind == "llama" and ".k_proj." in key:
        return interleave(a, config.num_key_value_heads)
    if kind == "gpt2" and a.ndim == 2 and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return a.T
    if kind == "gptneox" and ".query_key_value." in key:  # head by head there, q, k and v one after the other here
        parts = a.reshape(config.num_attention_heads, 3, -1, *a.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *a.shape[1:]) for i in range(3)])
    return a


def write_gguf(name, folder, config, tokenizer, model):
    """The same model as a GGUF file; names of tensors are those of gguf-py."""
    import gguf

    kind = GGUF[name]
    w = gguf.GGUFWriter(folder + "/model.gguf", kind)
    w.add_name(f"tiny {name}")
    w.add_license("apache-2.0")
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_block_count(config.num_hidden_layers)
    w.add_feed_forward_length(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    w.add_head_count(config.num_attention_heads)
    if kind in ("llama", "qwen2", "qwen3"):
        w.add_head_count_kv(config.num_key_value_heads)
        w.add_rope_freq_base(config.rope_parameters["rope_theta"])
        w.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind == "llama":
        w.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    if kind == "qwen3":
        w.add_key_length(config.head_dim)
        w.add_value_length(config.head_dim)
    if kind == "gptneox":
        size = config.hidden_size // config.num_attention_heads
        w.add_rope_dimension_count(int(config.rope_parameters["partial_rotary_factor"] * size))
        w.add_parallel_residual(config.use_parallel_residual)
    if kind in ("gpt2", "gptneox"):
        w.add_layer_norm_eps(getattr(config, "layer_norm_eps", None) or config.layer_norm_epsilon)
    vocab = tokenizer["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.get) + [f"<|pad_{i}|>" for i in range(5)]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([3 if t.startswith("<|") and len(t) > 4 else 1 for t in tokens])
    w.add_token_merges([" ".join(m) for m in tokenizer["model"]["merges"]])
    w.add_bos_token_id(0)
    w.add_eos_token_id(0)
    scaling = getattr(config, "rope_parameters", None) or {}
    if scaling.get("rope_type") == "llama3":
        size = config.hidden_size // config.num_attention_heads
        frequencies = 1 / scaling["rope_theta"] ** (np.arange(0, size, 2) / size)
        turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        w.add_tensor("rope_freqs.weight", (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype(np.float32))
    names = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == kind), config.num_hidden_layers)
    for key, t in model.state_dict().items():
        if config.tie_word_embeddings and key in ("lm_head.weight", "embed_out.weight") or key.endswith((".attn.bias", ".masked_bias")):
            continue
        theirs = names.get_name(key, try_suffixes=(".weight", ".bias"))
        a = as_llama_cpp(kind, key, t.numpy(), config)
        w.add_tensor(theirs, np.ascontiguousarray(a.astype(np.float16 if a.ndim == 2 and "wpe" not in key else np.float32)))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def blocks(path):
    import gguf

    rng = np.random.default_rng(5)
    # type -> bytes of a block and where its binary16 scales stand
    kinds = {"Q8_0": (34, [0]), "Q4_0": (18, [0]), "Q4_1": (20, [0, 2]), "Q5_0": (22, [0]), "Q5_1": (24, [0, 2]),
             "Q4_K": (144, [0, 2]), "Q5_K": (176, [0, 2]), "Q6_K": (210, [208]), "F16": (2, [0]), "BF16": (2, [])}
    with open(path, "w") as f:
        f.write("# GGUF type, its number, a random block, the binary32 of each of its values; by "
                "tools/families/make_fixtures.py --blocks, gguf-py\n")
        for name, (size, scales) in kinds.items():
            kind = gguf.GGMLQuantizationType[name]
            for _ in range(2 if size > 2 else 6):
                raw = rng.integers(0, 256, size, dtype=np.uint8)
                for at in scales:
                    raw[at:at + 2] = np.frombuffer(np.float16(rng.normal(0, 0.02)).tobytes(), np.uint8)
                if name == "BF16":
                    raw[1] = rng.choice([0x3e, 0xbf, 0x00, 0x80])
                if name == "F16":
                    values = raw.view(np.float16).astype(np.float32)
                else:
                    values = gguf.dequantize(raw.reshape(1, -1), kind).astype(np.float32).ravel()
                f.write(f"{name} {int(kind)} {raw.tobytes().hex()} {values.view(np.uint32).astype('>u4').tobytes().hex()}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--blocks", action="store_true")
    a = parser.parse_args()
    if a.blocks:
        return blocks(a.out)
    for name in FAMILIES:
        if a.only in (None, name):
            make(name, a.out, a.seed)


if __name__ == "__main__":
    main()
