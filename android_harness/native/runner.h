// What the runners share: the command line, the order of the work, the times.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "files.h"

namespace mvkit {

// So many runs of a very small model are timed at most: --min-seconds could fill the memory and the
// report.
constexpr int kMostIterations = 100000;

struct Model {
  std::string file;
  std::vector<std::string> inputs;  // files, in the order of the model's inputs
};

struct Options {
  std::vector<Model> models;  // several take turns
  std::string outputs;        // files `outputs`-0.bin and so on; empty: none
  std::string backend = "xnnpack";
  int threads = 1;
  uint64_t cores = 0;  // a bit for each core that may be used; 0: all
  int warmup = 5;
  int iterations = 50;
  double min_seconds = 1;
  bool profile = false;
  bool memory = false;
};

struct Delegate {
  std::string name;           // empty: none
  std::optional<bool> whole;  // whether it runs all of the model, where the runtime tells
};

// The calls of one operator while the profile was taken.
struct Operator {
  std::string name;
  std::string kind;
  int64_t ns;
  int64_t calls;
};

// A runtime with one model. Every method may throw Failure.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual const char* name() const = 0;
  virtual void load(const std::string& file, const Options& options) = 0;
  virtual void compile(const Options& options) = 0;
  virtual std::vector<size_t> input_sizes() = 0;  // bytes
  virtual void set_input(size_t index, const Bytes& data) = 0;
  virtual void run() = 0;
  virtual std::vector<Bytes> outputs() = 0;
  virtual Delegate delegate() = 0;

  // Between these two each run is profiled; `compile` was told by its options.
  virtual void start_profile() = 0;
  virtual std::vector<Operator> stop_profile() = 0;
};

using MakeEngine = std::unique_ptr<Engine> (*)();

// Runs what the command line says, each model in an engine of its own. Returns the process's exit
// code: 0, 1 for a failure, 2 for a mistake on the command line.
int run(MakeEngine make, int argc, char** argv);

}  // namespace mvkit
