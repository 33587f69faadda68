// mvkit-executorch: runs the method `forward` of .pte files on ExecuTorch.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/platform/platform.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "report.h"
#include "runner.h"

// The wheel ships the thread pool without its header. This is what the runner needs of it.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace mvkit {
namespace {

namespace et = executorch::runtime;
using executorch::extension::Module;

constexpr char kMethod[] = "forward";

void check(et::Error error, const std::string& what) {
  if (error != et::Error::Ok) {
    throw Failure("ExecuTorch cannot " + what + ": " + et::to_string(error));
  }
}

// Adds up the times of operators: of the kernels that ExecuTorch calls, and of what is inside a
// delegate. An operator is known by its place among those of a run.
class Profiler : public et::EventTracer {
 public:
  void start() { on_ = true; }

  std::vector<Operator> stop() {
    on_ = false;
    return operators_;
  }

  void create_event_block(const char*) override {}

  et::EventTracerEntry start_profiling(const char* name, et::ChainID, et::DebugHandle) override {
    if (std::strcmp(name, "Method::execute") == 0) place_ = 0;
    return begin(name);
  }

  void end_profiling(et::EventTracerEntry entry) override { end(entry, kKernel); }

  et::EventTracerEntry start_profiling_delegate(const char* name, et::DelegateDebugIntId) override {
    return begin(name == nullptr ? "?" : name);
  }

  void end_profiling_delegate(et::EventTracerEntry entry, const void*, size_t) override {
    end(entry, "");
  }

  void log_profiling_delegate(const char* name, et::DelegateDebugIntId, et_timestamp_t start,
                              et_timestamp_t end, const void*, size_t) override {
    if (on_) add(name == nullptr ? "?" : name, end - start);
  }

  void track_allocation(et::AllocatorID, size_t) override {}
  et::AllocatorID track_allocator(const char*) override { return 0; }
  et::Result<bool> log_evalue(const et::EValue&, et::LoggedEValueType) override { return false; }
  et::Result<bool> log_intermediate_output_delegate(
      const char*, et::DelegateDebugIntId, const executorch::aten::Tensor&) override {
    return false;
  }
  et::Result<bool> log_intermediate_output_delegate(
      const char*, et::DelegateDebugIntId,
      const et::ArrayRef<executorch::aten::Tensor>) override {
    return false;
  }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId,
                                                    const int&) override {
    return false;
  }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId,
                                                    const bool&) override {
    return false;
  }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId,
                                                    const double&) override {
    return false;
  }
  void set_delegation_intermediate_output_filter(et::EventTracerFilterBase*) override {}

 private:
  // How the calls of kernels are called; other spans hold these.
  static constexpr char kKernel[] = "native_call_";

  et::EventTracerEntry begin(const char* name) {
    et::EventTracerEntry entry = {};
    entry.event_id = next_++;
    entry.start_time = et_pal_current_ticks();
    if (on_) open_[entry.event_id] = name;
    return entry;
  }

  void end(const et::EventTracerEntry& entry, const std::string& prefix) {
    const et_timestamp_t ticks = et_pal_current_ticks() - entry.start_time;
    const auto found = open_.find(entry.event_id);
    if (found == open_.end()) return;
    const std::string name = found->second;
    open_.erase(found);
    if (name.compare(0, prefix.size(), prefix) == 0) add(name.substr(prefix.size()), ticks);
  }

  void add(const std::string& name, et_timestamp_t ticks) {
    const et_tick_ratio_t ratio = et_pal_ticks_to_ns_multiplier();
    if (place_ == operators_.size()) {
      const std::string kind = name.substr(0, name.rfind(" #"));  // XNNPACK numbers those of a kind
      operators_.push_back({std::to_string(place_), kind, 0, 0});
    }
    operators_[place_].ns += static_cast<int64_t>(ticks * ratio.numerator / ratio.denominator);
    ++operators_[place_].calls;
    ++place_;
  }

  bool on_ = false;
  int64_t next_ = 0;
  size_t place_ = 0;
  std::map<int64_t, std::string> open_;  // spans that have begun
  std::vector<Operator> operators_;
};

// All models share the pool, and delegates keep it: only the first may make it anew.
void size_pool(int threads) {
  static bool sized = false;
  if (sized) return;
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr || !pool->_unsafe_reset_threadpool(threads)) {
    throw Failure("ExecuTorch cannot make a pool of " + std::to_string(threads) + " threads");
  }
  sized = true;
}

class Executorch : public Engine {
 public:
  const char* name() const override { return "executorch"; }

  void load(const std::string& file, const Options& options) override {
    if (options.backend != "xnnpack") {
      throw UsageFailure("--backend " + options.backend +
                         ": a .pte has the backend that it was made for");
    }
    auto profiler = options.profile ? std::make_unique<Profiler>() : nullptr;
    profiler_ = profiler.get();
    module_ = std::make_unique<Module>(file, Module::LoadMode::Mmap, std::move(profiler));
    check(module_->load(et::Program::Verification::InternalConsistency), "load " + file);
  }

  void compile(const Options& options) override {
    size_pool(options.threads);
    check(module_->load_method(kMethod), "prepare the method forward");
    const auto found = module_->method_meta(kMethod);
    check(found.error(), "describe the method forward");
    meta_ = std::make_unique<et::MethodMeta>(*found);
  }

  std::vector<size_t> input_sizes() override {
    std::vector<size_t> sizes;
    for (size_t i = 0; i < meta_->num_inputs(); ++i) sizes.push_back(input(i).nbytes());
    tensors_.resize(sizes.size());
    data_.resize(sizes.size());
    values_.resize(sizes.size());
    return sizes;
  }

  void set_input(size_t index, const Bytes& data) override {
    const et::TensorInfo info = input(index);
    data_[index] = data;
    tensors_[index] = executorch::extension::from_blob(
        data_[index].data(), {info.sizes().begin(), info.sizes().end()}, info.scalar_type());
    values_[index] = et::EValue(*tensors_[index]);
  }

  void run() override {
    auto results = module_->execute(kMethod, values_);
    check(results.error(), "run the model");
    results_ = std::move(*results);
  }

  std::vector<Bytes> outputs() override {
    std::vector<Bytes> found;
    for (const et::EValue& value : results_) {
      if (!value.isTensor()) throw Failure("an output of the model is no tensor");
      const auto* first = static_cast<const uint8_t*>(value.toTensor().const_data_ptr());
      found.emplace_back(first, first + value.toTensor().nbytes());
    }
    return found;
  }

  Delegate delegate() override {
    std::set<std::string> names;  // one entry for each of the model's parts
    for (size_t i = 0; i < meta_->num_backends(); ++i) {
      const auto backend = meta_->get_backend_name(i);
      check(backend.error(), "name its backend");
      names.insert(*backend);
    }
    std::string together;
    for (const std::string& name : names) together += (together.empty() ? "" : ", ") + name;
    return {together, std::nullopt};
  }

  void start_profile() override { profiler_->start(); }
  std::vector<Operator> stop_profile() override { return profiler_->stop(); }

 private:
  et::TensorInfo input(size_t index) {
    const auto info = meta_->input_tensor_meta(index);
    check(info.error(), "describe an input; inputs other than tensors cannot be given");
    return *info;
  }

  std::unique_ptr<Module> module_;
  std::unique_ptr<et::MethodMeta> meta_;
  Profiler* profiler_ = nullptr;  // belongs to the module
  std::vector<Bytes> data_;
  std::vector<executorch::extension::TensorPtr> tensors_;
  std::vector<et::EValue> values_;
  std::vector<et::EValue> results_;
};

}  // namespace
}  // namespace mvkit

int main(int argc, char** argv) {
  return mvkit::run(
      []() -> std::unique_ptr<mvkit::Engine> { return std::make_unique<mvkit::Executorch>(); },
      argc, argv);
}
