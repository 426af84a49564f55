#include "archive/hdf5.h"

#include <algorithm>

#include "archive/format.h"

namespace llmc {
namespace {

size_t stub_filter(unsigned, size_t, const unsigned*, size_t, size_t*, void**) { return 0; }

herr_t innermost(unsigned, const H5E_error2_t* error, void* out) {
  auto* text = static_cast<std::string*>(out);
  if (text->empty() && error->desc) *text = error->desc;
  return 0;
}

}  // namespace

H5Session::H5Session() {
  H5Eget_auto2(H5E_DEFAULT, &printer_, &printer_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  static const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, static_cast<H5Z_filter_t>(filter_id), 1, 1, filter_name,
                                      nullptr, nullptr, stub_filter};
  registered_ = H5Zregister(&filter) >= 0;
}
H5Session::~H5Session() {
  if (registered_) H5Zunregister(static_cast<H5Z_filter_t>(filter_id));
  H5Eset_auto2(H5E_DEFAULT, printer_, printer_data_);
}

Status h5_status(const std::string& what) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &reason);
  return {Code::failure, what + ": " + (reason.empty() ? "libhdf5 gives no reason" : reason)};
}

// What libhdf5 holds of an open file; its own part comes first.
struct H5Output::Handle {
  H5FD_t base;
  H5Output* output;
  haddr_t allocated;  // "eoa"
  haddr_t written;    // "eof"
};

struct H5Output::Driver {
  struct Info {
    H5Output* output;
  };
  static Handle* self(H5FD_t* file) { return reinterpret_cast<Handle*>(file); }
  static const Handle* self(const H5FD_t* file) { return reinterpret_cast<const Handle*>(file); }

  static H5FD_t* open(const char*, unsigned, hid_t access, haddr_t) {
    const auto* info = static_cast<const Info*>(H5Pget_driver_info(access));
    if (!info) return nullptr;
    return &(new Handle{{}, info->output, 0, 0})->base;
  }
  static herr_t close(H5FD_t* file) {
    delete self(file);
    return 0;
  }
  static herr_t query(const H5FD_t*, unsigned long* flags) {
    // As the default driver, so that the layout of files is its own.
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
  }
  static haddr_t get_eoa(const H5FD_t* file, H5FD_mem_t) { return self(file)->allocated; }
  static herr_t set_eoa(H5FD_t* file, H5FD_mem_t, haddr_t address) {
    self(file)->allocated = address;
    return 0;
  }
  static haddr_t get_eof(const H5FD_t* file, H5FD_mem_t) { return self(file)->written; }
  static herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
    const Handle* h = self(file);
    auto* bytes = static_cast<uint8_t*>(buffer);
    // Behind the end stand zeros, as HDF5 expects.
    const size_t there = address < h->written ? static_cast<size_t>(std::min<haddr_t>(size, h->written - address)) : 0;
    std::fill(bytes + there, bytes + size, uint8_t{0});
    return h->output->file_->read_at(address, {bytes, there}).ok() ? 0 : -1;
  }
  static herr_t write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, const void* buffer) {
    Handle* h = self(file);
    Status& status = h->output->status_;
    if (status.ok()) status = h->output->file_->write_at(address, {static_cast<const uint8_t*>(buffer), size});
    h->written = std::max<haddr_t>(h->written, address + size);
    return 0;
  }
  static herr_t truncate(H5FD_t* file, hid_t, hbool_t) {
    Handle* h = self(file);
    Status& status = h->output->status_;
    if (h->written == h->allocated) return 0;
    if (status.ok()) status = h->output->file_->truncate(h->allocated);
    h->written = h->allocated;
    return 0;
  }
};

bool H5Output::attach(hid_t access) {
  static const H5FD_class_t driver = [] {
    H5FD_class_t c{};
    c.name = "llmc-batch output";
    c.maxaddr = (haddr_t{1} << 63) - 1;
    c.fc_degree = H5F_CLOSE_STRONG;
    c.fapl_size = sizeof(Driver::Info);
    c.open = Driver::open;
    c.close = Driver::close;
    c.query = Driver::query;
    c.get_eoa = Driver::get_eoa;
    c.set_eoa = Driver::set_eoa;
    c.get_eof = Driver::get_eof;
    c.read = Driver::read;
    c.write = Driver::write;
    c.truncate = Driver::truncate;
    const H5FD_mem_t map[] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(map), std::end(map), c.fl_map);
    return c;
  }();
  driver_ = H5FDregister(&driver);
  const Driver::Info info{this};
  return driver_ >= 0 && H5Pset_driver(access, driver_, &info) >= 0;
}

H5Output::~H5Output() {
  if (driver_ >= 0) H5FDunregister(driver_);
}

}  // namespace llmc
