// The parts around libhdf5 that shard_writer.cpp and hdf5_view.cpp use. Not for other folders.
#pragma once

#include <hdf5.h>

#include <string>

#include "base/file.h"
#include "base/status.h"

namespace llmc {

// Owns one HDF5 identifier.
class H5Handle {
 public:
  H5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~H5Handle() { reset(); }
  H5Handle(const H5Handle&) = delete;
  H5Handle& operator=(const H5Handle&) = delete;
  operator hid_t() const { return id_; }  // NOLINT: reads as the C interface does
  bool ok() const { return id_ >= 0; }
  bool reset() {
    const hid_t id = id_;
    id_ = -1;
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// While one lives, libhdf5 prints no errors and our filter stands registered. A stub of it is
// enough: frames are written as they are (H5Dwrite_chunk) and read as they are. It goes again
// with the object, since a plugin of the same id may be in use in this process.
class H5Session {
 public:
  H5Session();
  ~H5Session();
  H5Session(const H5Session&) = delete;
  H5Session& operator=(const H5Session&) = delete;
  bool ok() const { return registered_; }

 private:
  H5E_auto2_t printer_ = nullptr;
  void* printer_data_ = nullptr;
  bool registered_ = false;
};

// A file that libhdf5 writes through us. It cannot close a file whose last writes fail: on a full
// disk it would keep the descriptor, and loop when the process ends. So the driver notes the first
// failure, tells libhdf5 that all is well, and its owner asks status().
class H5Output {
 public:
  explicit H5Output(File* file) : file_(file) {}
  ~H5Output();
  H5Output(const H5Output&) = delete;
  H5Output& operator=(const H5Output&) = delete;
  // Makes files that are opened with this access list use the driver, whatever their name.
  bool attach(hid_t access);
  const Status& status() const { return status_; }

 private:
  struct Handle;
  struct Driver;
  File* file_;
  hid_t driver_ = -1;
  Status status_;
};

// "what: the innermost reason that libhdf5 gives".
Status h5_status(const std::string& what);

}  // namespace llmc
