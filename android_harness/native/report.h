// What a runner prints: one JSON object a line, described in docs/runners.md.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace mvkit {

// Something that the runner was asked for and cannot do, in one line for people.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A mistake on the command line.
struct UsageFailure : Failure {
  using Failure::Failure;
};

// One line in the making. Keys are ours and need no escaping.
class Line {
 public:
  explicit Line(const char* event);
  Line& put(const char* key, int64_t value);
  Line& put(const char* key, bool value);
  Line& put(const char* key, const std::string& value);
  Line& put(const char* key, const char* value) { return put(key, std::string(value)); }

  // Writes the line at once, so that nothing that a library prints stands within it.
  // Ends the process if it cannot be written.
  void print() const;

 private:
  std::string text_;
};

// The last line: how many came before it, so that a lost one is noticed.
void print_end();

// What the process is doing, for the line that a crash leaves. `what` must outlive the process.
void set_phase(const char* what);

// From now on a crash of a library (a damaged file may cause one) prints an error line, too.
void report_crashes();

}  // namespace mvkit
