#include "report.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace mvkit {
namespace {

int64_t printed = 0;
const char* volatile phase = "starting";

// ASCII only: names and messages may hold anything, and nobody reads them but people.
std::string escaped(const std::string& text) {
  std::string result;
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += static_cast<char>(c);
    } else if (c < 0x20) {
      result += ' ';
    } else {
      result += c < 0x7f ? static_cast<char>(c) : '?';
    }
  }
  return result;
}

void write_from_handler(const char* text) {
  // Nothing can be done about a failure here.
  [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, text, strlen(text));
}

// Only what is safe in a signal's handler; the line before may be unfinished, hence the newline.
void on_crash(int signal) {
  write_from_handler("\n{\"event\":\"error\",\"message\":\"crashed while ");
  write_from_handler(phase);
  switch (signal) {
    case SIGABRT: write_from_handler(": aborted by a library"); break;
    case SIGBUS: write_from_handler(": bus error"); break;
    case SIGFPE: write_from_handler(": arithmetic error"); break;
    case SIGILL: write_from_handler(": an instruction that this processor lacks"); break;
    default: write_from_handler(": segmentation fault"); break;
  }
  write_from_handler("\"}\n");
  _exit(1);
}

}  // namespace

Line::Line(const char* event) : text_(std::string("{\"event\":\"") + event + '"') {}

Line& Line::put(const char* key, int64_t value) {
  text_ += std::string(",\"") + key + "\":" + std::to_string(value);
  return *this;
}

Line& Line::put(const char* key, bool value) {
  text_ += std::string(",\"") + key + "\":" + (value ? "true" : "false");
  return *this;
}

Line& Line::put(const char* key, const std::string& value) {
  text_ += std::string(",\"") + key + "\":\"" + escaped(value) + '"';
  return *this;
}

void Line::print() const {
  const std::string line = text_ + "}\n";
  if (fwrite(line.data(), 1, line.size(), stdout) != line.size() || fflush(stdout) != 0) {
    perror("mvkit runner: cannot write its report");
    _exit(1);
  }
  ++printed;
}

void print_end() { Line("end").put("lines", printed).print(); }

void set_phase(const char* what) { phase = what; }

void report_crashes() {
  for (const int signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV}) {
    struct sigaction action = {};
    action.sa_handler = on_crash;
    sigaction(signal, &action, nullptr);
  }
  signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error of writing
}

}  // namespace mvkit
