"""Training itself: a budget of time or of steps, checkpoints that it goes on from, and a quantised end."""
import hashlib
import json
import math
import os
import signal
import time

import torch

import export
from muon import Muon
from network import Network
from tokens import Windows

# A recipe's fields and what they are where it is silent.
DEFAULTS = {
    "vocabulary": 4096, "vocabulary_part": 0.25,             # entries; part of the documents that they are made from
    "width": 256, "layers": 5, "heads": 4, "kv_heads": 2, "head_dim": 64, "ffn": 640, "context": 1024, "rope_theta": 10000.0,
    "minutes": 0.0, "steps": 0,                              # the budget: one of the two
    "batch": 16, "micro": 8,                                 # windows of a step, and of one pass
    "lr": 0.02, "lr_rest": 0.006, "weight_decay": 0.01, "momentum": 0.95, "clip": 1.0,
    "warmup_steps": 100, "decay": 0.4, "quantised": 0.15,    # parts of the budget: falling rate, int8 in the forward pass
    "held_part": 0.005, "held_windows": 64, "checkpoint_minutes": 5.0, "compile": False, "seed": 1,
}


def read_recipe(path):
    with open(path) as f:
        given = json.load(f)
    unknown = set(given) - set(DEFAULTS) - {"name", "about"}
    if unknown:
        raise SystemExit(f"{path}: unknown fields {', '.join(sorted(unknown))}")
    recipe = {**DEFAULTS, **given}
    if bool(recipe["minutes"]) == bool(recipe["steps"]):
        raise SystemExit(f"{path}: one of minutes and steps is the budget")
    if recipe["batch"] % recipe["micro"] or recipe["heads"] % recipe["kv_heads"] or recipe["head_dim"] % 8:
        raise SystemExit(f"{path}: batch is a multiple of micro, heads of kv_heads, head_dim of 8")
    return recipe


def config_of(recipe, data):
    return dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", vocab_size=data["vocabulary"], hidden_size=recipe["width"],
                intermediate_size=recipe["ffn"], num_hidden_layers=recipe["layers"], num_attention_heads=recipe["heads"],
                num_key_value_heads=recipe["kv_heads"], head_dim=recipe["head_dim"], max_position_embeddings=recipe["context"],
                rope_theta=recipe["rope_theta"], rms_norm_eps=1e-6, tie_word_embeddings=True, attention_bias=False, hidden_act="silu",
                bos_token_id=data["start"], eos_token_id=data["start"], torch_dtype="bfloat16", use_sliding_window=False,
                initializer_range=0.02)


class Training:
    def __init__(self, recipe, data_folder, out, device):
        with open(os.path.join(data_folder, "data.json")) as f:
            self.data = json.load(f)
        self.recipe, self.out, self.device = recipe, out, device
        torch.manual_seed(recipe["seed"])
        self.network = Network(config_of(recipe, self.data)).to(device)
        named = list(self.network.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
        rest = [p for name, p in named if p.ndim == 1 or "embed" in name]
        self.optimisers = [
            Muon(matrices, recipe["lr"], recipe["momentum"], recipe["weight_decay"]),
            torch.optim.AdamW(rest, lr=recipe["lr_rest"], betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)]
        self.loss = torch.compile(self.network.loss, dynamic=False) if recipe["compile"] else self.network.loss
        windows = lambda name: Windows(os.path.join(data_folder, name + ".u16"), recipe["context"], self.data["start"], recipe["seed"])
        self.train, self.held = windows("train"), windows("held")
        self.step, self.seconds, self.curve = 0, 0.0, []
        self.parameters = sum(p.numel() for p in self.network.parameters())
        # What a checkpoint must agree with; how long to train may change between two calls.
        free = ("minutes", "steps", "checkpoint_minutes", "compile", "micro", "held_windows", "about")
        self.identity = hashlib.sha256(json.dumps(
            [{k: v for k, v in sorted(recipe.items()) if k not in free}, self.data], sort_keys=True).encode()).hexdigest()

    # Checkpoints

    def save(self):
        state = {"identity": self.identity, "network": self.network.state_dict(), "step": self.step, "seconds": self.seconds,
                 "optimisers": [o.state_dict() for o in self.optimisers], "curve": self.curve}
        path = os.path.join(self.out, "checkpoint.pt")
        torch.save(state, path + ".new")
        os.replace(path + ".new", path)

    def resume(self):
        path = os.path.join(self.out, "checkpoint.pt")
        if not os.path.exists(path):
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self.identity:
            raise SystemExit(f"{path} is of another recipe or other data; another --out, or remove it")
        self.network.load_state_dict(state["network"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        print(f"going on after step {self.step}, {self.seconds:.0f} s", flush=True)

    # One step

    def done(self):
        """Part of the budget that is used."""
        r = self.recipe
        return self.step / r["steps"] if r["steps"] else self.seconds / (60 * r["minutes"])

    def rate(self, done):
        warm = min(1.0, (self.step + 1) / max(self.recipe["warmup_steps"], 1))
        return warm * min(1.0, max(1 - done, 0.0) / max(self.recipe["decay"], 1e-9))

    def pass_of(self, windows, first, count):
        fed, wanted = (torch.from_numpy(x).to(self.device, non_blocking=True) for x in windows.batch(first, count))
        with torch.autocast(self.device, torch.bfloat16):
            return self.loss(fed, wanted)

    def one_step(self, done):
        r, total = self.recipe, 0.0
        rate = self.rate(done)
        for optimiser, lr in zip(self.optimisers, (r["lr"], r["lr_rest"])):
            for group in optimiser.param_groups:
                group["lr"] = lr * rate
        passes = r["batch"] // r["micro"]
        for i in range(passes):
            loss = self.pass_of(self.train, self.step * r["batch"] + i * r["micro"], r["micro"])
            (loss / passes).backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), r["clip"])
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return total / passes

    @torch.no_grad()
    def held_bits(self, quantised):
        """Bits per byte of the held-out text, its first windows, in binary32; each window starts from nothing."""
        self.network.quantise(quantised)
        count = min(self.recipe["held_windows"], self.held.count)
        total = 0.0
        for i in range(count):
            fed, wanted = (torch.from_numpy(x).to(self.device) for x in self.held.batch(i, 1))
            total += float(self.network.loss(fed, wanted))
        bytes_per_token = self.data["held_bytes"] / self.data["held_tokens"]
        return total / count / math.log(2) / bytes_per_token

    def run(self, log_every=20):
        """Trains until the budget is used. SIGINT and SIGTERM end it after the step, with a checkpoint; then it returns False."""
        r, stop = self.recipe, []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.append(1))
        quantised = self.done() >= 1 - r["quantised"]
        if r["compile"]:  # both forms, outside the clock
            for on in (True, False):
                self.network.quantise(on)
                self.pass_of(self.train, 0, r["micro"]).backward()
            self.network.zero_grad(set_to_none=True)
        self.network.quantise(quantised)
        saved = began = time.monotonic()
        before = self.seconds
        while (done := self.done()) < 1 and not stop:
            if not quantised and done >= 1 - r["quantised"]:
                quantised = True
                self.network.quantise(True)
                print(f"step {self.step}: int8 in the forward pass from here on", flush=True)
            loss = self.one_step(done)
            if self.device == "cuda" and not r["steps"]:
                torch.cuda.synchronize()
            self.seconds = before + time.monotonic() - began
            if self.step % log_every == 0 or self.step == 1:
                fed = self.step * r["batch"] * r["context"]
                self.curve.append([self.step, round(self.seconds, 1), fed, round(float(loss), 4)])
                print(f"step {self.step}, {self.seconds:.0f} s, {fed / 1e6:.1f} M tokens, {fed / max(self.seconds, 1e-9):,.0f} a second, "
                      f"loss {float(loss):.4f}", flush=True)
            if time.monotonic() - saved > 60 * r["checkpoint_minutes"]:
                self.save()
                saved = time.monotonic()
        self.save()
        return not stop


def fit(recipe_path, data_folder, tokenizer_path, out, device, minutes=None):
    recipe = read_recipe(recipe_path)
    if minutes is not None:
        recipe.update(minutes=minutes, steps=0)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    os.makedirs(out, exist_ok=True)
    training = Training(recipe, data_folder, out, device)
    with open(tokenizer_path, "rb") as f:
        if hashlib.sha256(f.read()).hexdigest() != training.data["tokenizer_sha256"]:
            raise SystemExit(f"{data_folder} was encoded with another tokenizer than {tokenizer_path}")
    print(f"{training.parameters:,} parameters, {training.data['tokens']:,} tokens, on {device}", flush=True)
    training.resume()
    if not training.run():
        print(f"stopped after step {training.step}; the same command goes on", flush=True)
        return False
    grids = {name: training.held_bits(on) for name, on in (("binary32", False), ("int8", True))}
    cost = grids["int8"] / grids["binary32"] - 1
    print(f"held-out text: {grids['binary32']:.4f} bits per byte, as int8 {grids['int8']:.4f} ({100 * cost:+.3f} %)", flush=True)
    export.write(training, tokenizer_path, os.path.join(out, "hf"),
                 {"held_out_bits_per_byte": grids, "hardware": hardware(device), "torch": torch.__version__})
    return True


def hardware(device):
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads"
