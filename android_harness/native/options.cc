#include "options.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "report.h"

namespace mvkit {
namespace {

int whole_number(const std::string& option, const std::string& text, int least) {
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text.c_str(), &end, 10);
  const bool is_number = errno == 0 && end != text.c_str() && *end == '\0';
  if (!is_number || value < least || value > kMostIterations) {
    throw UsageFailure(option + " " + text + ": not a whole number from " + std::to_string(least) +
                       " to " + std::to_string(kMostIterations));
  }
  return static_cast<int>(value);
}

double seconds(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !std::isfinite(value) || value < 0) {
    throw UsageFailure(option + " " + text + ": not a time in seconds");
  }
  return value;
}

uint64_t mask(const std::string& option, const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long value = std::strtoull(text.c_str(), &end, 16);
  if (errno != 0 || end == text.c_str() || *end != '\0' || text[0] == '-' || value == 0) {
    throw UsageFailure(option + " " + text + ": not a mask of cores in hexadecimal digits");
  }
  return value;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--profile") {
      options.profile = true;
      continue;
    }
    if (option == "--memory") {
      options.memory = true;
      continue;
    }
    if (i + 1 == argc) throw UsageFailure(option + ": unknown, or lacks its value");
    const std::string value = argv[++i];
    if (option == "--model") {
      options.models.push_back({value, {}});
    } else if (option == "--input") {
      if (options.models.empty()) throw UsageFailure("--input: comes after its --model");
      options.models.back().inputs.push_back(value);
    } else if (option == "--outputs") {
      options.outputs = value;
    } else if (option == "--backend") {
      options.backend = value;
    } else if (option == "--threads") {
      options.threads = whole_number(option, value, 1);
    } else if (option == "--cores") {
      options.cores = mask(option, value);
    } else if (option == "--warmup") {
      options.warmup = whole_number(option, value, 0);
    } else if (option == "--iterations") {
      options.iterations = whole_number(option, value, 1);
    } else if (option == "--min-seconds") {
      options.min_seconds = seconds(option, value);
    } else {
      throw UsageFailure(option + ": unknown option");
    }
  }
  if (options.models.empty()) throw UsageFailure("--model: missing");
  const bool more = options.profile || options.memory || !options.outputs.empty();
  if (more && options.models.size() > 1) {
    throw UsageFailure("--model: several models are timed, nothing else");
  }
  return options;
}

}  // namespace mvkit
