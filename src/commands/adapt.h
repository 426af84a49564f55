// model adapt SAMPLE... -o FILE: fits the model to one kind of text.
#pragma once

#include "commands/verb.h"

namespace llmc {

Status run_model_adapt(Context& context, const Words& words);

}  // namespace llmc
