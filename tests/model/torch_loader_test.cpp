#include "model/torch_loader.h"

#include <gtest/gtest.h>

#include "model/embedded_model.h"
#include "support/process.h"

namespace llmc {
namespace {

TEST(TorchLoader, SaysWhereItLookedAndWhatToDo) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto none = open_torch_engine(*model, {"", -1, "/nowhere/libllmc_torch.so"});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::missing);
  EXPECT_NE(none.status().message().find("/nowhere/libllmc_torch.so"), std::string::npos);
  EXPECT_NE(none.status().message().find("-DLLMC_TORCH=ON"), std::string::npos);
  const test::TempDir folder;
  test::spill(folder.path() / "libllmc_torch.so", "no library at all");
  const auto broken = open_torch_engine(*model, {"", -1, folder.path() / "libllmc_torch.so"});
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.status().message().find("could not be loaded"), std::string::npos) << broken.status().message();
}

TEST(TorchLoader, NamesTheSideThatIsNotThere) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto none = open_torch_engine(*model, {"", 0, "/nowhere/libllmc_torch_cuda.so"});
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::missing);
  EXPECT_TRUE(none.status().message().starts_with("the CUDA back end is not there")) << none.status().message();
  EXPECT_NE(none.status().message().find("--device cpu"), std::string::npos);
  EXPECT_EQ(torch_library_places(true)[0].filename(), "libllmc_torch_cuda.so");
}

TEST(TorchLoader, LooksBesideTheProgram) {
  const auto places = torch_library_places();
  ASSERT_GE(places.size(), 2u);
  EXPECT_EQ(places[0].filename(), "libllmc_torch.so");
  EXPECT_EQ(places[0].parent_path(), std::filesystem::read_symlink("/proc/self/exe").parent_path());
}

}  // namespace
}  // namespace llmc
