// dxc LIBRARY < names of files: compiles HLSL by libdxcompiler with wgpu's options, shader model 6.2; a file's first line is a
// comment with the name of the entry point. Prints each file that it refuses with the first error; exits with 1 if there is one.
#include "dxcapi.h"
#include <dlfcn.h>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

int main(int argc, char **argv) {
  void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  auto make = library ? (DxcCreateInstanceProc)dlsym(library, "DxcCreateInstance") : nullptr;
  IDxcCompiler3 *compiler = nullptr;
  if (!make || make(CLSID_DxcCompiler, __uuidof(IDxcCompiler3), (void **)&compiler)) {
    return fprintf(stderr, "dxc: %s\n", library ? "no compiler" : dlerror()), 2;
  }
  int refused = 0;
  for (std::string path; std::getline(std::cin, path);) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    std::string source = text.str(), slashes, entry;
    text >> slashes >> entry;
    std::wstring wide(entry.begin(), entry.end());
    const wchar_t *arguments[] = {L"-E",    wide.c_str(), L"-T",  L"cs_6_2", L"-HV",
                                  L"2018", L"-O3",       L"-Vd", L"-enable-16bit-types"};
    DxcBuffer buffer{source.data(), source.size(), DXC_CP_UTF8};
    IDxcResult *result = nullptr;
    HRESULT status = compiler->Compile(&buffer, arguments, std::size(arguments), nullptr, __uuidof(IDxcResult), (void **)&result);
    std::string messages = "no message";
    if (!status) {
      result->GetStatus(&status);
      IDxcBlobUtf8 *blob = nullptr;
      result->GetOutput(DXC_OUT_ERRORS, __uuidof(IDxcBlobUtf8), (void **)&blob, nullptr);
      if (blob) messages.assign(blob->GetStringPointer(), blob->GetStringLength()), blob->Release();
      result->Release();
    }
    if (!status) continue;
    refused = 1;
    auto at = messages.find("error:");
    std::string error = messages.substr(at == std::string::npos ? 0 : at);
    printf("%s\t%s\n", path.substr(path.rfind('/') + 1).c_str(), error.substr(0, error.find('\n')).c_str());
  }
  return refused;
}
