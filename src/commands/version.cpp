// --version: what this build is made of; and the hidden list of fault points.
#include <boost/version.hpp>
#include <openssl/crypto.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>

#include "archive/shard_writer.h"
#include "base/fault.h"
#include "build_info.h"
#include "comm/mpi_comm.h"
#include "commands/compute.h"
#include "commands/verb.h"
#include "exact/kernels.h"

namespace llmc {

std::string version_text() {
  std::string text = "llmc-batch " LLMC_VERSION " (" LLMC_COMMIT ")\n";
  std::string isas;
  for (const std::string& isa : available_isas()) isas += (isas.empty() ? "" : " ") + isa;
  text += "numerics   LLMC-X1 on this CPU: " + isas + "\n";
  text += std::string("engines    native") + (torch_library_present() ? ", torch (CPU)" : "; torch is not in this build") + "\n";
  text += "cuda       " + cuda_text() + "\n";
  const Result<std::shared_ptr<const Model>> model = open_model("");
  text += "model      " + (model.ok() ? (*model)->name() + " (embedded), sha256 " + to_hex((*model)->digest()) : model.status().message()) + "\n";
  text += "libraries  " + hdf5_version() + ", " + mpi_version() + ", Boost " + std::to_string(BOOST_VERSION / 100000) + "." +
          std::to_string(BOOST_VERSION / 100 % 1000) + ", zlib " + zlibVersion() + ", zstd " + ZSTD_versionString() + ", " +
          OpenSSL_version(OPENSSL_VERSION) + "\n";
  return text;
}

Status run_faults(Context& context, const Words&) {
  if (!context.coordinator()) return {};
  for (const std::string& name : fault_names()) std::puts(name.c_str());
  return {};
}

}  // namespace llmc
