#include "files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <unistd.h>

#include "report.h"

namespace mvkit {
namespace {

std::string reason() { return strerror(errno); }

}  // namespace

Bytes read_exactly(const std::string& path, size_t size) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) throw Failure(path + ": " + reason());
  Bytes data(size + 1);  // one more: a longer file is as wrong as a shorter one
  const size_t got = std::fread(data.data(), 1, data.size(), file);
  const std::string why = std::ferror(file) != 0 ? reason() : "";
  std::fclose(file);
  if (!why.empty()) throw Failure(path + ": " + why);
  if (got != size) {
    throw Failure(path + ": has " + (got > size ? "more" : "less") + " than the " +
                  std::to_string(size) + " bytes of this input");
  }
  data.resize(size);
  return data;
}

void write_whole(const std::string& path, const Bytes& data) {
  const std::string unfinished = path + ".part";
  std::FILE* file = std::fopen(unfinished.c_str(), "wb");
  if (file == nullptr) throw Failure(unfinished + ": " + reason());
  const bool written = std::fwrite(data.data(), 1, data.size(), file) == data.size() &&
                       std::fflush(file) == 0;
  const std::string why = written ? "" : reason();
  std::fclose(file);
  if (!written) {
    unlink(unfinished.c_str());
    throw Failure(unfinished + ": cannot be written: " + why);
  }
  if (std::rename(unfinished.c_str(), path.c_str()) != 0) throw Failure(path + ": " + reason());
}

uint32_t crc32(const Bytes& data) {
  uint32_t sum = 0xffffffff;
  for (const uint8_t byte : data) {
    sum ^= byte;
    for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum;
}

int64_t peak_memory() {
  // Not getrusage: its figure starts with that of the process that called exec.
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib;
  }
  throw Failure("/proc/self/status does not say the peak memory");
}

bool is_emulated() {
  // QEMU answers for /proc/self/maps itself and hides there; under this name it lets the file
  // through, and its own program is in it.
  std::ifstream maps("/proc/thread-self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    const size_t name = line.rfind('/');
    if (name != std::string::npos && line.compare(name, 6, "/qemu-") == 0) return true;
  }
  return false;
}

}  // namespace mvkit
