// Raw tensors in files, and what the system says of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mvkit {

using Bytes = std::vector<uint8_t>;

// Reads a file that must hold exactly `size` bytes. Throws Failure.
Bytes read_exactly(const std::string& path, size_t size);

// Writes a file that appears whole or not at all. Throws Failure, also for a full disk.
void write_whole(const std::string& path, const Bytes& data);

// CRC-32 (IEEE 802.3), as zlib computes it: shows whether a file was pulled whole.
uint32_t crc32(const Bytes& data);

// The most memory that was resident at a time, in KiB. Throws Failure.
int64_t peak_memory();

// Whether the program runs in QEMU's user mode, where times mean nothing.
bool is_emulated();

}  // namespace mvkit
