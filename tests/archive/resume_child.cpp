// Compresses the corpus of tests/archive/resume_test.cpp to the path given; the test arms a fault for it, or kills it.
#include "fixture.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const llmc::Status status = llmc::test::compress(argv[1], llmc::test::corpus_for(argv[1]), 0, llmc::SetMode::resume);
  // _exit: what a destructor would tidy up is not what these tests are about.
  ::_exit(status.ok() ? 0 : 1);
}
