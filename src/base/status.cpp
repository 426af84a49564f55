#include "base/status.h"

namespace llmc {

int exit_code(Code code) {
  switch (code) {
    case Code::ok: return 0;
    case Code::failure: return 1;
    case Code::usage: return 2;
    case Code::partial: return 3;
    case Code::missing: return 10;
    case Code::locked: return 11;
    case Code::model: return 12;
    case Code::corrupt: return 20;
    case Code::drained: return 75;
    case Code::interrupted: return 130;
    case Code::range: return 1;
  }
  return 1;
}

const char* code_name(Code code) {
  switch (code) {
    case Code::ok: return "ok";
    case Code::failure: return "failure";
    case Code::usage: return "usage";
    case Code::partial: return "partial";
    case Code::missing: return "missing";
    case Code::locked: return "locked";
    case Code::model: return "model";
    case Code::corrupt: return "corrupt";
    case Code::drained: return "drained";
    case Code::interrupted: return "interrupted";
    case Code::range: return "range";
  }
  return "unknown";
}

}  // namespace llmc
