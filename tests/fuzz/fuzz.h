/* A fuzz target defines LLVMFuzzerTestOneInput. Built with -Dfuzz=true it is a libFuzzer program:
 *
 *     CC=clang CXX=clang++ meson setup build-fuzz -Dfuzz=true
 *     ninja -C build-fuzz
 *     build-fuzz/tests/fuzz/fuzz_yaml -max_total_time=300 NEW_INPUTS tests/fuzz/corpus/yaml
 *
 * Otherwise replay.c runs it over the files of its corpus: a test that what was found stays mended.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
