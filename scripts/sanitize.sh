#!/bin/sh
# Sanitizers and Miri over what is unsafe: tables, entries, values and their cuts, stripes. By hand, some minutes each.
#
# They need a nightly toolchain beside the stable one, with its runtimes; Miri and an instrumented standard library need its
# components `miri` and `rust-src` as well. What is not installed is named and left out, never counted as passed. The
# thread sanitizer without `rust-src` sees the standard library's own atomics only where they are compiled into ours;
# the orderings of gate, journal and waiters are also explored by the shuttle models of `make test`.
set -eu
NIGHTLY=${NIGHTLY:-nightly}
TARGET=$(rustc -vV | sed -n 's/^host: //p')
TESTS=${TESTS:-types:: table:: keyspace:: mover::}
SYSROOT=$(rustc "+$NIGHTLY" --print sysroot) || { echo "no nightly toolchain: nothing was checked"; exit 1; }
BUILD_STD=
[ -d "$SYSROOT/lib/rustlib/src" ] && BUILD_STD=-Zbuild-std

run() {
	echo "== $1 sanitizer${BUILD_STD:+, with the standard library}"
	# Models run on stacks of their own, which sanitizers do not follow.
	TSAN_OPTIONS="suppressions=$PWD/scripts/thread-sanitizer.supp" \
	RUSTFLAGS="-Zsanitizer=$1 -Cunsafe-allow-abi-mismatch=sanitizer" PROPTEST_CASES=${CASES:-16} \
		cargo "+$NIGHTLY" test ${JOBS:+-j$JOBS} $BUILD_STD --target "$TARGET" --target-dir "target/$1-sanitizer" --lib -- \
		--skip model_ $TESTS
}

for name in ${SANITIZERS:-address thread}; do
	run "$name"
done
if [ -x "$SYSROOT/bin/cargo-miri" ]; then
	PROPTEST_CASES=4 MIRIFLAGS=-Zmiri-disable-isolation cargo "+$NIGHTLY" miri test --lib -- --skip model_ $TESTS
else
	echo "== Miri is not installed: not run"
fi
