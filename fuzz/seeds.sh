#!/bin/sh
# Writes the seeds of the unwind target: small libraries built in different ways, and their bare .eh_frame.
# Usage: fuzz/seeds.sh && cargo +nightly fuzz run unwind
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/corpus/unwind
source=$here/../tracer/tests/unwind/fixtures/small.c
mkdir -p "$out"
build() {
    name=$1
    shift
    gcc -shared -fPIC -nostdlib -Wl,--build-id=none -Wl,-z,noseparate-code "$@" -o "$out/$name.so" "$source"
}
build plain -O0
build optimized -O2
# Without a section table: e_shoff is 0.
cp "$out/optimized.so" "$out/no-sections.so"
printf '\0\0\0\0\0\0\0\0' | dd of="$out/no-sections.so" bs=1 seek=40 conv=notrunc status=none
build debug-frame -O2 -g1 -fno-asynchronous-unwind-tables
build debug-frame-zlib -O2 -g1 -fno-asynchronous-unwind-tables -gz=zlib
for library in "$out"/plain.so "$out"/optimized.so; do
    # The byte that says which section it is, then the section.
    printf '\0' >"$library.eh_frame"
    objcopy -O binary --only-section=.eh_frame --set-section-flags .eh_frame=alloc "$library" "$library.bytes"
    cat "$library.bytes" >>"$library.eh_frame"
    rm "$library.bytes"
done
objcopy -O binary --only-section=.debug_frame --set-section-flags .debug_frame=alloc "$out/debug-frame.so" "$out/bytes"
{ printf '\1'; cat "$out/bytes"; } >"$out/debug-frame.so.debug_frame"
rm "$out/bytes"
