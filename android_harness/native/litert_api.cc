#include "litert_api.h"

#include <dlfcn.h>

#include <string>

#include "report.h"

namespace mvkit::litert {
namespace {

constexpr char kLibrary[] = "libLiteRt.so";

template <typename Function>
void look_up(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr) {
    throw Failure(std::string(kLibrary) + " has no " + name + "; LiteRT 2.1.6 or later is needed");
  }
}

}  // namespace

Api::Api() {
  void* library = dlopen(kLibrary, RTLD_NOW);
  if (library == nullptr) throw Failure(dlerror());
#define LOOK_UP(name) look_up(library, "LiteRt" #name, name)
  LOOK_UP(CreateEnvironment);
  LOOK_UP(CreateModelFromFile);
  LOOK_UP(CreateOptions);
  LOOK_UP(SetOptionsHardwareAccelerators);
  LOOK_UP(CreateOpaqueOptions);
  LOOK_UP(AddOpaqueOptions);
  LOOK_UP(CreateCompiledModel);
  LOOK_UP(CompiledModelIsFullyAccelerated);
  LOOK_UP(GetModelSignature);
  LOOK_UP(GetNumSignatureInputs);
  LOOK_UP(GetNumSignatureOutputs);
  LOOK_UP(GetSignatureInputTensorByIndex);
  LOOK_UP(GetSignatureOutputTensorByIndex);
  LOOK_UP(GetRankedTensorType);
  LOOK_UP(GetCompiledModelInputBufferRequirements);
  LOOK_UP(GetCompiledModelOutputBufferRequirements);
  LOOK_UP(CreateManagedTensorBufferFromRequirements);
  LOOK_UP(GetTensorBufferPackedSize);
  LOOK_UP(LockTensorBuffer);
  LOOK_UP(UnlockTensorBuffer);
  LOOK_UP(RunCompiledModel);
  LOOK_UP(CompiledModelGetProfiler);
  LOOK_UP(StartProfiler);
  LOOK_UP(StopProfiler);
  LOOK_UP(GetNumProfilerEvents);
  LOOK_UP(GetProfilerEvents);
#undef LOOK_UP
}

}  // namespace mvkit::litert
