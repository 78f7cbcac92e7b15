// fxc.exe FILE: compiles HLSL by d3dcompiler_47.dll with wgpu's options, shader model 5.1; the file's first line is a comment with
// the name of the entry point. Prints its first error; exits with 1 if there is one, and with 2 where it cannot compile anything.
#include <windows.h>
#include <d3dcommon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef HRESULT(WINAPI *Compile)(LPCVOID, SIZE_T, LPCSTR, const void *, void *, LPCSTR, LPCSTR, UINT, UINT, ID3DBlob **,
                                 ID3DBlob **);
enum { ENABLE_STRICTNESS = 1 << 11 };

int main(int argc, char **argv) {
  HMODULE dll = LoadLibraryA("d3dcompiler_47.dll");
  Compile compile = dll ? (Compile)(void *)GetProcAddress(dll, "D3DCompile") : 0;
  if (!compile) return printf("no d3dcompiler_47.dll: error %lu\n", GetLastError()), 2;
  FILE *file = argc == 2 ? fopen(argv[1], "rb") : 0;
  if (!file) return printf("fxc.exe FILE\n"), 2;
  fseek(file, 0, SEEK_END);
  long bytes = ftell(file);
  rewind(file);
  char *text = malloc(bytes + 1), entry[256];
  bytes = fread(text, 1, bytes, file);
  text[bytes] = 0;
  if (sscanf(text, "// %255s", entry) != 1) return printf("the first line names no entry point\n"), 2;
  ID3DBlob *code = 0, *messages = 0;
  if (!compile(text, bytes, "shader", 0, 0, entry, "cs_5_1", ENABLE_STRICTNESS, 0, &code, &messages)) return 0;
  char *message = messages ? messages->lpVtbl->GetBufferPointer(messages) : "no message";
  char *error = strstr(message, "error");
  printf("%.*s\n", (int)strcspn(error ? error : message, "\r\n"), error ? error : message);
  return 1;
}
