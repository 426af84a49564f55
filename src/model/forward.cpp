#include "model/forward.h"

#include <algorithm>

namespace llmc {

// The numbers are those of docs/MODEL.md, "Forward pass".
void forward(const Model& model, Ops& ops, const Batch& batch, std::span<const int32_t> asking,
             std::span<const int32_t> symbols, Ask ask, const ForwardTrace& trace) {
  const int rows = static_cast<int>(batch.ids.size());
  const auto done = [&](const char* op, int layer, Place place, int count) {
    if (trace) trace(op, layer, place, count);
  };

  int index = 0;
  ops.layer(0);
  ops.embed();  // 1
  done("embed", 0, Place::stream, rows);
  for (const Layer& layer : model.layers()) {
    ops.layer(index);
    ops.norm_linear(Place::stream, 0, rows, *layer.attn_norm, *layer.attn_in, Place::qkv);  // 2, 3, 4
    done("qkv", index, Place::qkv, rows);
    ops.turn_and_store(layer.q_norm, layer.k_norm);  // 5, 6, 7
    done("rope", index, Place::qkv, rows);
    ops.attend();  // 8
    done("attention", index, Place::mixed, rows);
    const auto mlp_in = [&] {
      ops.norm_linear(Place::stream, 0, rows, *layer.mlp_norm, *layer.mlp_in, Place::gate_up);  // 12, 13, 14
      done("gate up", index, Place::gate_up, rows);
    };
    if (model.config().parallel) mlp_in();          // before the attention's share is added
    ops.linear_add(Place::mixed, *layer.attn_out);  // 9, 10, 11
    done("attention out", index, Place::stream, rows);
    if (!model.config().parallel) mlp_in();
    ops.activate();  // 15
    done("activation", index, Place::active, rows);
    ops.linear_add(Place::active, *layer.mlp_out);  // 16, 17, 18
    done("mlp out", index, Place::stream, rows);
    ++index;
  }

  ops.layer(index);
  if (asking.empty()) return;
  ops.gather(asking);
  const int count = static_cast<int>(asking.size());
  for (int first = 0; first < count; first += ops.head_rows()) {
    const int block = std::min(ops.head_rows(), count - first);
    ops.norm_linear(Place::last, first, block, model.final_norm(), model.head(), Place::logits);  // 19, 20, 21
    done("logits", index, Place::logits, block);
    ops.frequencies(first, symbols.subspan(first, block), ask);  // 22
  }
}

}  // namespace llmc
