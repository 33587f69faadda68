#include "runner.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
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

struct TimedRun : Sample {
  int64_t turn;
};

// A model in its runtime, and what is to be reported of it.
struct Subject {
  std::unique_ptr<Engine> engine;
  std::vector<Line> lines;  // of what came before the timed runs, if it takes turns
  std::vector<TimedRun> runs;
  int64_t timed_ns = 0;
};

// A turn is long beside what another model left in the caches, and short beside what changes on a
// device: clocks, temperature, neighbours.
constexpr int64_t kTurnNs = 20000000;
constexpr int kLeastRunsOfATurn = 2;

Line span(const char* event, const Sample& sample) {
  return Line(event).put("at", sample.at).put("ns", sample.ns);
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

// Loads a model, compiles it and warms it up. Lines about one of several wait for its block.
Subject prepare(MakeEngine make, const Model& model, const Options& options, int64_t epoch) {
  Subject subject;
  subject.engine = make();
  Engine& engine = *subject.engine;
  const auto say = [&](const Line& line) {
    if (options.models.size() == 1) {
      line.print();
    } else {
      subject.lines.push_back(line);
    }
  };
  set_phase("loading the model");
  say(span("load", timed(epoch, [&] { engine.load(model.file, options); })));
  set_phase("compiling the model");
  say(span("compile", timed(epoch, [&] { engine.compile(options); })));
  set_phase("reading inputs");
  feed(engine, model.inputs);
  set_phase("running the model");
  say(span("first", timed(epoch, [&] { engine.run(); })));
  const Delegate delegate = engine.delegate();
  if (!delegate.name.empty()) {
    Line line("delegate");
    line.put("name", delegate.name);
    if (delegate.whole) line.put("whole", *delegate.whole);
    say(line);
  }
  for (int i = 0; i < options.warmup; ++i) {
    say(span("warmup", timed(epoch, [&] { engine.run(); })));
  }
  subject.runs.reserve(kMostIterations);  // memory that is not written to is not used
  return subject;
}

bool is_full(const Subject& subject) { return subject.runs.size() == kMostIterations; }

bool is_done(const Subject& subject, const Options& options) {
  const bool long_enough = subject.timed_ns >= static_cast<int64_t>(1e9 * options.min_seconds);
  const bool often_enough = subject.runs.size() >= static_cast<size_t>(options.iterations);
  return is_full(subject) || (often_enough && long_enough);
}

void time_run(Subject& subject, int64_t epoch, int64_t turn) {
  const int64_t begin = now();
  subject.runs.push_back({timed(epoch, [&] { subject.engine->run(); }), turn});
  subject.timed_ns += now() - begin;
}

// The first run of a turn is not timed: it finds the caches full of another model's weights.
void take_turn(Subject& subject, int64_t epoch, int64_t turn) {
  subject.engine->run();
  const int64_t until = now() + kTurnNs;
  for (int runs = 0; (runs < kLeastRunsOfATurn || now() < until) && !is_full(subject); ++runs) {
    time_run(subject, epoch, turn);
  }
}

// Every model goes on until all are done, and each is the first of a round in turn: whatever
// changes meanwhile slows them alike.
void take_turns(std::vector<Subject>& subjects, const Options& options, int64_t epoch) {
  const auto done = [&](const Subject& subject) { return is_done(subject, options); };
  for (int64_t turn = 0; !std::all_of(subjects.begin(), subjects.end(), done); ++turn) {
    for (size_t place = 0; place < subjects.size(); ++place) {
      take_turn(subjects[(place + turn) % subjects.size()], epoch, turn);
    }
  }
}

void print_runs(const Subject& subject, bool in_turns) {
  for (const Line& line : subject.lines) line.print();
  Line("timed").put("count", static_cast<int64_t>(subject.runs.size())).print();
  for (const TimedRun& run : subject.runs) {
    Line line = span("sample", run);
    if (in_turns) line.put("turn", run.turn);
    line.print();
  }
}

// Nothing is printed while runs are timed: who reads it would compete for the processor.
void measure_one(Subject& subject, const Options& options, int64_t epoch) {
  Engine& engine = *subject.engine;
  if (options.profile) engine.start_profile();
  while (!is_done(subject, options)) time_run(subject, epoch, 0);
  const std::vector<Operator> operators =
      options.profile ? engine.stop_profile() : std::vector<Operator>();
  print_runs(subject, false);
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
}

void measure(MakeEngine make, const Options& options) {
  const int64_t epoch = now();
  if (options.cores != 0) bind_to(options.cores);
  std::vector<Subject> subjects;
  for (const Model& model : options.models) {
    subjects.push_back(prepare(make, model, options, epoch));
  }
  if (subjects.size() == 1) {
    measure_one(subjects.front(), options, epoch);
  } else {
    take_turns(subjects, options, epoch);
    for (size_t i = 0; i < subjects.size(); ++i) {
      Line("model").put("index", static_cast<int64_t>(i)).print();
      print_runs(subjects[i], true);
    }
  }
  print_end();
}

int fail(const std::string& message, int code) {
  Line("error").put("message", message).print();
  return code;
}

}  // namespace

int run(MakeEngine make, int argc, char** argv) {
  report_crashes();
  Line("runner")
      .put("protocol", int64_t{1})
      .put("runtime", make()->name())
      .put("emulated", is_emulated())
      .print();
  try {
    measure(make, parse_options(argc, argv));
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
