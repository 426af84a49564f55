#include "commands/compute.h"

#include <cstdio>

#include "base/log.h"
#include "comm/mpi_comm.h"
#include "commands/chunk_work.h"
#include "commands/start_table.h"
#include "commands/streams.h"
#include "dispatch/local.h"
#include "exact/kernels.h"
#include "model/adaptation.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "model/torch_loader.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

// Start-up reads and checks models, on a cold file system too.
constexpr auto setup_deadline = std::chrono::minutes(20);
// Bytes for each worker from which a job is worth measuring its workers first.
constexpr uint64_t measured_share = 256 << 10;
constexpr size_t weights_piece = size_t{64} << 20;

Bytes pack_status(const Status& status) {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(status.code()));
  out.string(status.message());
  return out.take();
}

Status unpack_status(ByteReader& in) {
  const uint8_t code = in.u8();
  std::string message(in.string());
  if (!in.ok() || code > static_cast<uint8_t>(Code::range)) return {Code::failure, "a start-up message is damaged"};
  return code == 0 ? Status() : Status(static_cast<Code>(code), std::move(message));
}

Bytes pack_setup(const JobSetup& setup) {
  ByteWriter out;
  out.bytes(pack_status({}));
  const Bytes parameters = setup.parameters.serialize();
  out.string(as_text(parameters));
  out.bytes(setup.model);
  out.string(setup.model_name);
  out.string(as_text(setup.adaptation));
  out.u64(setup.weights);
  out.u8(setup.measure);
  return out.take();
}

Result<JobSetup> unpack_setup(ByteView bytes) {
  ByteReader in(bytes);
  LLMC_TRY(unpack_status(in));
  JobSetup setup;
  LLMC_ASSIGN(setup.parameters, CodecParameters::parse(as_bytes(in.string())));
  const ByteView digest = in.bytes(setup.model.size());
  setup.model_name = in.string();
  const ByteView adaptation = as_bytes(in.string());
  setup.adaptation.assign(adaptation.begin(), adaptation.end());
  setup.weights = in.u64();
  setup.measure = in.u8() != 0;
  if (!in.done()) return Status(Code::failure, "a start-up message is damaged");
  std::copy(digest.begin(), digest.end(), setup.model.begin());
  return setup;
}

// A rank is gone, or a compute thread hangs: Finalize and destructors would wait for it for ever.
void end_if_hanging(const Status& status, bool clean, const std::function<void()>& before = {}) {
  if (clean) return;
  if (before) before();
  const std::string why = status.ok() ? "a rank or thread did not leave in time" : status.message();
  std::fprintf(stderr, "llmc-batch: %s\n", why.c_str());
  abort_job(exit_code(status.ok() ? Code::failure : status.code()));
}

// The model file in pieces, so that rank 0 never holds it twice. Collective; every rank comes here or none.
Status send_weights(Comm& comm, ByteView file) {
  for (size_t at = 0; at < file.size(); at += weights_piece) {
    const ByteView part = file.subspan(at, std::min(weights_piece, file.size() - at));
    Bytes piece(part.begin(), part.end());
    LLMC_TRY(comm.broadcast(0, &piece, setup_deadline));
  }
  return {};
}

Result<std::shared_ptr<const Model>> receive_weights(Comm& comm, const JobSetup& setup) {
  auto file = std::make_shared<Bytes>();
  file->reserve(setup.weights);
  while (file->size() < setup.weights) {
    Bytes piece;
    LLMC_TRY(comm.broadcast(0, &piece, setup_deadline));
    if (piece.empty()) return Status(Code::failure, "a start-up message is damaged");
    file->insert(file->end(), piece.begin(), piece.end());
  }
  LLMC_ASSIGN(std::shared_ptr<const Model> model, Model::from_bytes(*file, file));
  if (model->digest() == setup.model) return model;
  return Status(Code::model, "the model file came from rank 0 with sha256 " + to_hex(model->digest()) + " instead of " +
                                 to_hex(setup.model));
}

// The coordinator's side: every worker hears what is to be done and says whether it can, then all hear whether all can.
Status agree(Context& context, const JobSetup& setup, ByteView weights, std::vector<WorkerFacts>* workers) {
  Bytes message = pack_setup(setup);
  LLMC_TRY(context.comm->broadcast(0, &message, setup_deadline));
  LLMC_TRY(send_weights(*context.comm, weights));
  LLMC_ASSIGN(const std::vector<Bytes> answers, context.comm->gather(0, pack_status({}), setup_deadline));
  Status verdict;
  for (size_t rank = 1; rank < answers.size() && verdict.ok(); ++rank) {
    ByteReader in(answers[rank]);
    verdict = unpack_status(in).with("rank " + std::to_string(rank));
    workers->push_back(WorkerFacts::read(in));
    if (verdict.ok() && !in.done()) verdict = {Code::failure, "a start-up message is damaged"};
  }
  Bytes go = pack_status(verdict);
  LLMC_TRY(context.comm->broadcast(0, &go, setup_deadline));
  return verdict;
}

struct ComputeSide {
  std::unique_ptr<Engine> engine;
  int threads = 0, streams = 0;
  std::unique_ptr<ChunkProcessor> processor;
};

// Another way to the same bits: libtorch's results are held against the native kernels', those of one
// instruction set against the next slower one's. Not for large models: their weights would stand in
// memory twice.
OtherEngine other_engine(std::string first, std::shared_ptr<const Model> model) {
  constexpr uint64_t largest = uint64_t{256} << 20;  // parameters
  return [first, model]() -> Result<std::unique_ptr<Engine>> {
    std::unique_ptr<Engine> none;
    if (!model || model->parameters() > largest) return none;
    if (!first.starts_with("native ")) return make_native_engine(model);
    std::string slower;
    for (const std::string& isa : available_isas()) {
      if (first == "native " + isa) break;
      slower = isa;
    }
    if (slower.empty() || slower == "scalar") return none;
    return make_native_engine(model, slower);
  };
}

Result<ComputeSide> make_worker(const ComputeOptions& options, const JobSetup& setup, std::shared_ptr<const Model> model,
                                const Placement& placement) {
  ComputeSide worker;
  if (setup.needs_model() && !setup.adaptation.empty()) {
    LLMC_ASSIGN(model, adapt_model(std::move(model), setup.adaptation));
  }
  if (setup.needs_model()) {
    LLMC_ASSIGN(worker.engine, open_engine(options.engine, model, options.device, placement, options.gpus));
  }
  int threads = placement.threads;
  if (worker.engine) {
    threads = default_sessions(*worker.engine, setup.parameters.codec == Codec::mix, static_cast<int>(setup.parameters.window), threads);
  }
  if (options.threads) threads = options.threads;
  int streams = worker.engine ? worker.engine->good_streams(threads, static_cast<int>(setup.parameters.window)) : 0;
  if (streams == 0) streams = default_streams(model.get(), threads);
  if (options.streams) streams = options.streams;
  worker.processor = std::make_unique<ChunkProcessor>(worker.engine.get(), setup.parameters, threads, streams,
                                                      other_engine(worker.engine ? worker.engine->name() : "", std::move(model)));
  worker.threads = threads;
  worker.streams = streams;
  log::debug("{} on {} threads, {} streams each", worker.engine ? worker.engine->name() : "no model", threads, streams);
  return worker;
}

// Jobs of one process, one after the other: a late message of one must not be taken for the next one's. The same on
// all ranks, as all of them go through the same jobs.
uint32_t next_session() {
  static uint32_t session = 0;
  return session++;
}

RunFacts facts_of(const ComputeOptions& options, const JobSetup& setup, const JobSize& size) {
  return {size.verb, size.output, options.status_file, options.report, size.tasks, size.bytes, size.tasks_before, size.bytes_before,
          size.decoding, setup.needs_model() ? setup.model_name + ", sha256 " + to_hex(setup.model) : std::string()};
}

void tell(RunRecord& record, const CoordinatorReport& report, const Status& status, const std::function<void(RunTables*)>& fill) {
  if (!record.wanted()) return;
  RunTables tables;
  if (fill) fill(&tables);
  Status told = record.finish(report, status);
  if (told.ok()) told = record.write_report(tables);
  if (!told.ok()) log::warn("{}", told.message());
}

}  // namespace

void add_compute_options(OptionSet& set) {
  set.group("Model and machine").add_options()
      ("model", po::value<std::string>()->value_name("FILE"), "model file; default: the embedded model")
      ("weights-from", po::value<std::string>()->default_value("file")->value_name("HOW"),
       "file: each rank reads the model file; mpi: rank 0 reads it and sends it to the others")
      ("engine", po::value<std::string>()->default_value("auto")->value_name("NAME"),
       "auto, torch or native: the same bits from each; auto takes torch where it is built")
      ("gpus-per-rank", po::value<int>()->default_value(1)->value_name("N"),
       "GPUs that each rank spreads the model over, where one is too small for it; the same bits")
      ("device", po::value<std::string>()->default_value("auto")->value_name("NAME"),
       "cpu, cuda (the GPUs of a machine go to its workers in turn), cuda:N, or auto: the CPU in this version")
      ("threads", po::value<int>()->default_value(0)->value_name("N"), "compute threads of a rank; 0: its share of the cores")
      ("streams", po::value<int>()->default_value(0)->value_name("N"),
       "chunks that a thread works on at once; 0: 6 to 16, by the sizes of model and processor cache");
  set.group("Running").add_options()
      ("progress", po::value<int>()->default_value(60)->value_name("SECONDS"), "a line this often where no terminal shows a bar")
      ("progress-json", po::bool_switch(), "progress as JSON lines on standard error")
      ("quiet,q", po::bool_switch(), "no progress")
      ("status-file", po::value<std::string>()->value_name("FILE"), "keep a JSON file up to date with how far the run is")
      ("report", po::value<std::string>()->value_name("FILE.html"), "write a page about the run at its end, and FILE.json beside it")
      ("lease", po::value<double>()->default_value(120)->value_name("SECONDS"),
       "a chunk whose worker shows no progress for this long goes to another");
}

Result<ComputeOptions> compute_options(const OptionSet& set) {
  ComputeOptions options;
  if (set.given("model")) options.model = set.get<std::string>("model");
  const std::string weights = set.get<std::string>("weights-from");
  if (weights != "file" && weights != "mpi") return Status(Code::usage, "--weights-from is file or mpi, not '" + weights + "'");
  options.send_weights = weights == "mpi" && !options.model.empty();  // the embedded model is on every rank
  options.engine = set.get<std::string>("engine");
  options.device = set.get<std::string>("device");
  options.gpus = set.get<int>("gpus-per-rank");
  options.threads = set.get<int>("threads");
  options.streams = set.get<int>("streams");
  options.progress_seconds = set.get<int>("progress");
  options.progress_json = set.get<bool>("progress-json");
  options.quiet = set.get<bool>("quiet");
  options.lease_seconds = set.get<double>("lease");
  if (set.given("status-file")) options.status_file = set.get<std::string>("status-file");
  if (set.given("report")) options.report = set.get<std::string>("report");
  if (!options.report.empty() && !options.report.ends_with(".html")) {
    return Status(Code::usage, "--report is a name that ends in .html, not '" + options.report + "'");
  }
  if (options.engine != "auto" && options.engine != "torch" && options.engine != "native") {
    return Status(Code::usage, "--engine is auto, torch or native, not '" + options.engine + "'");
  }
  LLMC_TRY(check_device_word(options.device, options.engine, options.gpus));
  if (options.threads < 0 || options.threads > 1024) return Status(Code::usage, "--threads is 0 to 1024");
  if (options.streams < 0 || options.streams > 4096) return Status(Code::usage, "--streams is 0 to 4096");
  if (options.progress_seconds < 1) return Status(Code::usage, "--progress is at least 1 second");
  if (!(options.lease_seconds >= 1)) return Status(Code::usage, "--lease is at least 1 second");
  if (options.quiet && options.progress_json) return Status(Code::usage, "--quiet and --progress-json exclude each other");
  return options;
}

Result<std::shared_ptr<const Model>> open_model(const std::string& path) {
  if (path.empty()) return embedded_model();
  Result<std::shared_ptr<const Model>> model = Model::load(path);
  if (!model.ok() && model.status().code() == Code::missing) return Status(Code::model, model.status().message());
  return model;
}

Result<std::shared_ptr<const Model>> open_model_for(const std::string& path, const Digest& digest,
                                                    const std::string& name) {
  LLMC_ASSIGN(std::shared_ptr<const Model> model, open_model(path));
  if (model->digest() == digest) return model;
  return Status(Code::model, "the archive was made with model " + name + " (sha256 " + to_hex(digest) + "), but " +
                                 (path.empty() ? "the embedded model is " : path + " is ") + model->name() +
                                 " (sha256 " + to_hex(model->digest()) + "); give the right file with --model");
}

Result<std::unique_ptr<Engine>> open_engine(const std::string& engine, std::shared_ptr<const Model> model,
                                            const std::string& device, const Placement& placement, int gpus) {
  LLMC_ASSIGN(const int gpu, choose_device(device, engine, placement, gpus));
  if (gpu >= 0) {
    TorchOptions options;
    options.device = gpu;
    if (gpus > 1) options.devices = gpus;
    Result<std::unique_ptr<Engine>> cuda = open_torch_engine(model, options);
    if (cuda.ok()) return cuda;
    if (device != "auto" || gpus > 1) return Status(Code::failure, cuda.status().message());
    log::warn("{}; going on with the CPU", cuda.status().message());
  }
  if (engine == "native") return make_native_engine(std::move(model));
  Result<std::unique_ptr<Engine>> torch = open_torch_engine(model);
  if (torch.ok() || engine == "torch") return torch;
  if (torch.status().code() != Code::missing) {
    log::warn("{}; going on with the native engine", torch.status().message());
  }
  return make_native_engine(std::move(model));
}

Status cancel_job(Context& context, Status why) {
  if (context.size() > 1 && !context.rank_lost) {
    Bytes message = pack_status(why.ok() ? Status(Code::drained, "nothing to do") : why);
    const Status sent = context.comm->broadcast(0, &message, setup_deadline);
    if (!sent.ok()) log::warn("{}", sent.message());
  }
  return why;
}

Status run_job(Context& context, const ComputeOptions& options, const JobSetup& setup,
               std::shared_ptr<const Model> model, const JobSize& size, Job& job, std::vector<std::string>* names,
               const std::function<void(RunTables*)>& tables) {
  std::vector<std::string> unused;
  if (!names) names = &unused;
  ProgressOptions shown;
  shown.mode = choose_progress(options.progress_json, options.quiet, stderr_is_terminal());
  shown.interval = options.progress_seconds;
  shown.verb = size.verb;
  shown.total_tasks = size.tasks;
  shown.total_bytes = size.bytes;
  shown.tasks_before = size.tasks_before;
  shown.bytes_before = size.bytes_before;
  shown.coded_is_payload = size.decoding;
  shown.columns = stderr_columns();
  Progress progress(shown);

  CoordinatorOptions coordinator;
  coordinator.lease_timeout = std::chrono::duration_cast<Comm::Duration>(std::chrono::duration<double>(options.lease_seconds));
  coordinator.worker_timeout = 2 * coordinator.lease_timeout;
  coordinator.progress = &progress;
  coordinator.session = next_session();
  RunRecord record(facts_of(options, setup, size));
  RunRecord::Timed timed(record, job);
  if (record.wanted()) coordinator.watch = [&](const CoordinatorReport& now) { record.watch(now); };
  Job& work = record.wanted() ? static_cast<Job&>(timed) : job;
  CoordinatorReport report;
  Status status;
  if (context.size() == 1) {
    LLMC_ASSIGN(ComputeSide worker, make_worker(options, setup, std::move(model), context.placement));
    const WorkerFacts facts = worker_facts(worker.engine.get(), worker.threads, worker.streams, false);
    *names = {"", "this process (" + facts.place() + ")"};
    record.set_names(*names);
    WorkerOptions local;
    local.session = coordinator.session;
    status = run_local(work, *worker.processor, coordinator, local, &report);
    tell(record, report, status, tables);
    end_if_hanging(status, report.clean, options.before_abort);
    return status;
  }
  if (context.rank_lost) return {Code::failure, "a rank is lost, so nothing more is computed in this run"};
  JobSetup told = setup;
  ByteView weights;
  if (options.send_weights && setup.needs_model()) {
    weights = model->bytes();
    told.weights = weights.size();
  }
  told.measure = (size.bytes - size.bytes_before) / static_cast<uint64_t>(context.size() - 1) >= measured_share;
  std::vector<WorkerFacts> workers;
  LLMC_TRY(agree(context, told, weights, &workers));
  names->assign(1, "");
  for (const WorkerFacts& worker : workers) {
    names->push_back("rank " + std::to_string(names->size()) + " (" + worker.place() + ")");
  }
  if (!options.quiet && !options.progress_json) std::fputs(start_table(workers).c_str(), stderr);
  for (const std::string& slow : slow_workers(workers)) log::warn("{}", slow);
  record.set_names(*names);
  status = coordinate(*context.comm, work, coordinator, &report);
  tell(record, report, status, tables);
  if (status.ok() && !report.clean) {
    // What the others have done is brought to its end first.
    context.rank_lost = true;
    log::warn("a rank did not leave in time; all work was done without it, and when it is written the MPI job is ended");
    return status;
  }
  end_if_hanging(status, report.clean, options.before_abort);
  return status;
}

void note_finished(const ComputeOptions& options, const JobSetup& setup, const JobSize& size) {
  RunFacts facts = facts_of(options, setup, size);
  std::error_code error;
  if (std::filesystem::exists(facts.report, error)) facts.report.clear();
  RunRecord record(std::move(facts));
  tell(record, {}, {}, {});
}

Status run_worker(Context& context, const ComputeOptions& options) {
  Bytes message;
  LLMC_TRY(context.comm->broadcast(0, &message, setup_deadline));
  ByteReader first(message);
  if (!unpack_status(first).ok()) return {};  // cancelled: the coordinator tells the user
  ComputeSide worker;
  WorkerFacts facts;
  const Status ready = [&]() -> Status {
    LLMC_ASSIGN(const JobSetup setup, unpack_setup(message));
    std::shared_ptr<const Model> model;
    if (setup.weights > 0) {
      LLMC_ASSIGN(model, receive_weights(*context.comm, setup));
    } else if (setup.needs_model()) {
      LLMC_ASSIGN(model, open_model_for(options.model, setup.model, setup.model_name));
    }
    LLMC_ASSIGN(worker, make_worker(options, setup, std::move(model), context.placement));
    facts = worker_facts(worker.engine.get(), worker.threads, worker.streams, setup.measure);
    return {};
  }();
  ByteWriter answer;
  answer.bytes(pack_status(ready));
  facts.write(answer);
  LLMC_TRY(context.comm->gather(0, answer.take(), setup_deadline).status());
  LLMC_TRY(context.comm->broadcast(0, &message, setup_deadline));
  ByteReader verdict(message);
  if (!unpack_status(verdict).ok()) return {};
  WorkerOptions mine;
  mine.session = next_session();
  const Status left = work(*context.comm, *worker.processor, mine);
  end_if_hanging(left, left.ok());
  return {};
}

}  // namespace llmc
