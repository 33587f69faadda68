// The part of LiteRT's C API that the runner uses, looked up in libLiteRt.so when it starts.
//
// The runtime's packages carry no headers. These declarations are written from the documentation
// of its C API (litert/c, version 2.1.6 and later, where a model is made in an environment).
#pragma once

#include <cstddef>
#include <cstdint>

namespace mvkit::litert {

using Status = int;  // 0 is success
using Handle = void*;

enum Accelerator { kCpu = 1, kGpu = 2, kNpu = 4 };
enum LockMode { kRead = 0, kWrite = 1 };

// A shape; negative dimensions are open.
struct Layout {
  uint32_t rank : 7;
  uint32_t has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};

struct TensorType {
  int32_t element_type;
  Layout layout;
};
static_assert(sizeof(TensorType) == 72);

// Kinds of entries of the profiler: other spans of a run, operators of LiteRT's own, and those of a
// delegate. (A fourth kind is again within one of the second.)
enum EventType { kWhole = 1, kOperator = 2, kInsideDelegate = 8 };

struct ProfilerEvent {
  const char* tag;
  int32_t type;
  uint64_t start_us;
  uint64_t elapsed_us;
  uint64_t memory[2][3];
  uint64_t metadata[2];
  int32_t source;
};
static_assert(sizeof(ProfilerEvent) == 104);

// One function pointer for each name. Its constructor throws Failure where the library, or one of
// them, is missing.
struct Api {
  Api();

  Status (*CreateEnvironment)(int, const void* options, Handle* environment);
  Status (*CreateModelFromFile)(Handle environment, const char* path, Handle* model);
  Status (*CreateOptions)(Handle* options);
  Status (*SetOptionsHardwareAccelerators)(Handle options, int accelerators);
  Status (*CreateOpaqueOptions)(const char* identifier, void* payload, void (*free)(void*),
                                Handle* opaque);
  Status (*AddOpaqueOptions)(Handle options, Handle opaque);
  Status (*CreateCompiledModel)(Handle environment, Handle model, Handle options, Handle* compiled);
  Status (*CompiledModelIsFullyAccelerated)(Handle compiled, bool* whole);
  Status (*GetModelSignature)(Handle model, size_t index, Handle* signature);
  Status (*GetNumSignatureInputs)(Handle signature, size_t* number);
  Status (*GetNumSignatureOutputs)(Handle signature, size_t* number);
  Status (*GetSignatureInputTensorByIndex)(Handle signature, size_t index, Handle* tensor);
  Status (*GetSignatureOutputTensorByIndex)(Handle signature, size_t index, Handle* tensor);
  Status (*GetRankedTensorType)(Handle tensor, TensorType* type);
  Status (*GetCompiledModelInputBufferRequirements)(Handle compiled, size_t signature, size_t index,
                                                    Handle* requirements);
  Status (*GetCompiledModelOutputBufferRequirements)(Handle compiled, size_t signature,
                                                     size_t index, Handle* requirements);
  Status (*CreateManagedTensorBufferFromRequirements)(Handle environment, const TensorType* type,
                                                      Handle requirements, Handle* buffer);
  Status (*GetTensorBufferPackedSize)(Handle buffer, size_t* size);
  Status (*LockTensorBuffer)(Handle buffer, void** memory, int mode);
  Status (*UnlockTensorBuffer)(Handle buffer);
  Status (*RunCompiledModel)(Handle compiled, size_t signature, size_t inputs, Handle* input,
                             size_t outputs, Handle* output);
  Status (*CompiledModelGetProfiler)(Handle compiled, Handle* profiler);
  Status (*StartProfiler)(Handle profiler);
  Status (*StopProfiler)(Handle profiler);
  Status (*GetNumProfilerEvents)(Handle profiler, int* number);
  Status (*GetProfilerEvents)(Handle profiler, int number, ProfilerEvent* events);
};

}  // namespace mvkit::litert
