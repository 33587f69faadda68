// mvkit-litert: runs .tflite files on LiteRT's compiled models.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "litert_api.h"
#include "report.h"
#include "runner.h"

namespace mvkit {
namespace {

using litert::Handle;

void check(litert::Status status, const char* what) {
  if (status != 0) {
    throw Failure(std::string("LiteRT cannot ") + what + " (status " + std::to_string(status) +
                  ")");
  }
}

int accelerator(const std::string& backend) {
  if (backend == "xnnpack") return litert::kCpu;
  if (backend == "gpu") return litert::kGpu;
  if (backend == "npu") return litert::kNpu;
  throw UsageFailure("--backend " + backend + ": LiteRT has xnnpack, gpu and npu");
}

// Runs the file's first signature. Its objects live as long as the process.
class Litert : public Engine {
 public:
  const char* name() const override { return "litert"; }

  void load(const std::string& file, const Options&) override {
    api_ = std::make_unique<litert::Api>();
    check(api_->CreateEnvironment(0, nullptr, &environment_), "make an environment");
    check(api_->CreateModelFromFile(environment_, file.c_str(), &model_),
          ("load " + file).c_str());
  }

  void compile(const Options& options) override {
    backend_ = options.backend;
    Handle compilation = nullptr;
    check(api_->CreateOptions(&compilation), "make options");
    check(api_->SetOptionsHardwareAccelerators(compilation, accelerator(backend_)),
          "choose the backend");
    add(compilation, "xnnpack", "num_threads = " + std::to_string(options.threads) + "\n");
    if (options.profile) add(compilation, "runtime_options_string", "enable_profiling = true\n");
    check(api_->CreateCompiledModel(environment_, model_, compilation, &compiled_),
          "compile the model");
    make_buffers();
  }

  std::vector<size_t> input_sizes() override {
    std::vector<size_t> sizes;
    for (const Handle buffer : inputs_) sizes.push_back(size(buffer));
    return sizes;
  }

  void set_input(size_t index, const Bytes& data) override {
    void* memory = nullptr;
    check(api_->LockTensorBuffer(inputs_[index], &memory, litert::kWrite), "open an input");
    std::memcpy(memory, data.data(), data.size());
    check(api_->UnlockTensorBuffer(inputs_[index]), "close an input");
  }

  void run() override {
    check(api_->RunCompiledModel(compiled_, 0, inputs_.size(), inputs_.data(), outputs_.size(),
                                 outputs_.data()),
          "run the model");
  }

  std::vector<Bytes> outputs() override {
    std::vector<Bytes> results;
    for (const Handle buffer : outputs_) {
      void* memory = nullptr;
      check(api_->LockTensorBuffer(buffer, &memory, litert::kRead), "open an output");
      const auto* first = static_cast<const uint8_t*>(memory);
      results.emplace_back(first, first + size(buffer));
      check(api_->UnlockTensorBuffer(buffer), "close an output");
    }
    return results;
  }

  Delegate delegate() override {
    bool whole = false;
    check(api_->CompiledModelIsFullyAccelerated(compiled_, &whole), "tell its delegate");
    return {backend_, whole};
  }

  void start_profile() override {
    check(api_->CompiledModelGetProfiler(compiled_, &profiler_), "give its profiler");
    check(api_->StartProfiler(profiler_), "start its profiler");
  }

  std::vector<Operator> stop_profile() override;

 private:
  void add(Handle options, const char* identifier, const std::string& toml) {
    Handle opaque = nullptr;
    check(api_->CreateOpaqueOptions(identifier, strdup(toml.c_str()), std::free, &opaque),
          "take options");
    check(api_->AddOpaqueOptions(options, opaque), "take options");
  }

  void make_buffers() {
    Handle signature = nullptr;
    check(api_->GetModelSignature(model_, 0, &signature), "find the model's signature");
    size_t number = 0;
    check(api_->GetNumSignatureInputs(signature, &number), "count the inputs");
    for (size_t i = 0; i < number; ++i) {
      Handle tensor = nullptr;
      Handle needs = nullptr;
      check(api_->GetSignatureInputTensorByIndex(signature, i, &tensor), "find an input");
      check(api_->GetCompiledModelInputBufferRequirements(compiled_, 0, i, &needs),
            "tell what an input needs");
      inputs_.push_back(buffer(tensor, needs));
    }
    check(api_->GetNumSignatureOutputs(signature, &number), "count the outputs");
    for (size_t i = 0; i < number; ++i) {
      Handle tensor = nullptr;
      Handle needs = nullptr;
      check(api_->GetSignatureOutputTensorByIndex(signature, i, &tensor), "find an output");
      check(api_->GetCompiledModelOutputBufferRequirements(compiled_, 0, i, &needs),
            "tell what an output needs");
      outputs_.push_back(buffer(tensor, needs));
    }
  }

  Handle buffer(Handle tensor, Handle needs) {
    litert::TensorType type = {};
    check(api_->GetRankedTensorType(tensor, &type), "tell a tensor's shape");
    Handle made = nullptr;
    check(api_->CreateManagedTensorBufferFromRequirements(environment_, &type, needs, &made),
          "make a buffer");
    return made;
  }

  size_t size(Handle buffer) {
    size_t bytes = 0;
    check(api_->GetTensorBufferPackedSize(buffer, &bytes), "tell a buffer's size");
    return bytes;
  }

  std::unique_ptr<litert::Api> api_;
  std::string backend_;
  Handle environment_ = nullptr;
  Handle model_ = nullptr;
  Handle compiled_ = nullptr;
  Handle profiler_ = nullptr;
  std::vector<Handle> inputs_;
  std::vector<Handle> outputs_;
};

// An operator is known by its place among those of a run: a delegate counts its own anew in each
// partition.
std::vector<Operator> Litert::stop_profile() {
  check(api_->StopProfiler(profiler_), "stop its profiler");
  int number = 0;
  check(api_->GetNumProfilerEvents(profiler_, &number), "count the profiler's events");
  std::vector<litert::ProfilerEvent> events(number);
  check(api_->GetProfilerEvents(profiler_, number, events.data()), "give the profiler's events");
  std::vector<Operator> operators;
  size_t place = 0;
  for (const litert::ProfilerEvent& event : events) {
    if (event.type == litert::kWhole && std::strcmp(event.tag, "Invoke") == 0) place = 0;
    if (event.type != litert::kOperator && event.type != litert::kInsideDelegate) continue;
    if (place == operators.size()) operators.push_back({std::to_string(place), event.tag, 0, 0});
    operators[place].ns += static_cast<int64_t>(1000 * event.elapsed_us);
    ++operators[place].calls;
    ++place;
  }
  return operators;
}

}  // namespace
}  // namespace mvkit

int main(int argc, char** argv) {
  return mvkit::run(
      []() -> std::unique_ptr<mvkit::Engine> { return std::make_unique<mvkit::Litert>(); }, argc,
      argv);
}
