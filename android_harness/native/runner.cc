#include "runner.h"

#include <sched.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "options.h"
#include "report.h"

namespace mvkit {
namespace {

int64_t now() {
  timespec t = {};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{1000000000} * t.tv_sec + t.tv_nsec;
}

struct Sample {
  int64_t at;  // ns since the process began to measure
  int64_t ns;
};

void print_sample(const char* event, const Sample& sample) {
  Line(event).put("at", sample.at).put("ns", sample.ns).print();
}

template <typename Work>
Sample timed(int64_t epoch, Work work) {
  const int64_t begin = now();
  work();
  return {begin - epoch, now() - begin};
}

void bind_to(uint64_t cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core = 0; core < 64; ++core) {
    if (cores >> core & 1) CPU_SET(core, &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    throw Failure(std::string("--cores: the system refuses these cores: ") + strerror(errno));
  }
}

void feed(Engine& engine, const std::vector<std::string>& files) {
  const std::vector<size_t> sizes = engine.input_sizes();
  if (files.size() != sizes.size()) {
    throw Failure("the model takes " + std::to_string(sizes.size()) + " inputs, " +
                  std::to_string(files.size()) + " were given");
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    engine.set_input(i, read_exactly(files[i], sizes[i]));
  }
}

void give_outputs(Engine& engine, const std::string& base) {
  const std::vector<Bytes> outputs = engine.outputs();
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!base.empty()) write_whole(base + "-" + std::to_string(i) + ".bin", outputs[i]);
    Line("output")
        .put("bytes", static_cast<int64_t>(outputs[i].size()))
        .put("crc32", static_cast<int64_t>(crc32(outputs[i])))
        .print();
  }
}

// Nothing is printed while runs are timed: who reads it would compete for the processor.
std::vector<Sample> time_runs(Engine& engine, const Options& options, int64_t epoch) {
  std::vector<Sample> samples;
  samples.reserve(kMostIterations);  // memory that is not written to is not used
  const size_t least = static_cast<size_t>(options.iterations);
  const int64_t until = now() + static_cast<int64_t>(1e9 * options.min_seconds);
  while (samples.size() < least || (now() < until && samples.size() < kMostIterations)) {
    samples.push_back(timed(epoch, [&] { engine.run(); }));
  }
  return samples;
}

void measure(Engine& engine, const Options& options) {
  const int64_t epoch = now();
  if (options.cores != 0) bind_to(options.cores);
  set_phase("loading the model");
  print_sample("load", timed(epoch, [&] { engine.load(options); }));
  set_phase("compiling the model");
  print_sample("compile", timed(epoch, [&] { engine.compile(options); }));
  set_phase("reading inputs");
  feed(engine, options.inputs);
  set_phase("running the model");
  print_sample("first", timed(epoch, [&] { engine.run(); }));
  const Delegate delegate = engine.delegate();
  if (!delegate.name.empty()) {
    Line line("delegate");
    line.put("name", delegate.name);
    if (delegate.whole) line.put("whole", *delegate.whole);
    line.print();
  }
  for (int i = 0; i < options.warmup; ++i) {
    print_sample("warmup", timed(epoch, [&] { engine.run(); }));
  }
  if (options.profile) engine.start_profile();
  const std::vector<Sample> samples = time_runs(engine, options, epoch);
  const std::vector<Operator> operators =
      options.profile ? engine.stop_profile() : std::vector<Operator>();
  Line("timed").put("count", static_cast<int64_t>(samples.size())).print();
  for (const Sample& sample : samples) print_sample("sample", sample);
  for (const Operator& one : operators) {
    Line("operator")
        .put("name", one.name)
        .put("kind", one.kind)
        .put("ns", one.ns)
        .put("calls", one.calls)
        .print();
  }
  set_phase("writing outputs");
  give_outputs(engine, options.outputs);
  if (options.memory) Line("memory").put("peak_kib", peak_memory()).print();
  print_end();
}

int fail(const std::string& message, int code) {
  Line("error").put("message", message).print();
  return code;
}

}  // namespace

int run(Engine& engine, int argc, char** argv) {
  report_crashes();
  Line("runner")
      .put("protocol", int64_t{1})
      .put("runtime", engine.name())
      .put("emulated", is_emulated())
      .print();
  try {
    measure(engine, parse_options(argc, argv));
    return 0;
  } catch (const UsageFailure& failure) {
    return fail(failure.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail("not enough memory", 1);
  } catch (const std::exception& failure) {
    return fail(failure.what(), 1);
  }
}

}  // namespace mvkit
