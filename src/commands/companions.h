// What a set carries so as to explain itself: a README, the documents, the reference decoder and, where its
// licence allows and it is not larger than the shards, the model. Compiled in, so that an installed program
// needs no source tree.
#pragma once

#include <memory>

#include "archive/companion.h"
#include "model/model.h"

namespace llmc {

enum class ModelCopy { when_small, always };

// model: null where none was used.
MakeCompanions make_companions(std::shared_ptr<const Model> model, ModelCopy copy);

// Whether a licence, as model cards name it, is known to allow copies to be handed on.
bool license_allows_copies(const std::string& license);

}  // namespace llmc
