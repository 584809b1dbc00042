#!/usr/bin/env bash
# Fuzzes the targets one after the other, each for the given time, such as 10s, and prints
# the number of inputs. Stops at the first failing input. Go writes it to testdata/fuzz of
# the package, where go test runs it again. Each run starts with the seeds and the inputs in
# testdata/fuzz. If FUZZCACHE names a directory, it also starts with the inputs there.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=$1

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
# On a busy machine, Go before 1.27 can report the end of the time as a failure of the
# current input: https://github.com/golang/go/issues/75804
timed_out() {
	grep -q 'context deadline exceeded' "$bin/out" && ! grep -Eq 'Failing input written|panic|hung or terminated' "$bin/out"
}
cache=$(realpath -m "${FUZZCACHE:-$bin/cache}")
for dir in $(git grep --untracked -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
	# Build once for each package. go test would link again for each target.
	(cd "$dir" && go test -c -fuzz=. -o "$bin/fuzz" .)
	for target in $(cd "$dir" && "$bin/fuzz" -test.list '^Fuzz'); do
		echo -n "$target of $dir, $time: "
		# Limit minimization of new inputs. Most of them are already minimal.
		if ! (cd "$dir" && "$bin/fuzz" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" -test.fuzzminimizetime=10x \
			-test.fuzzcachedir="$cache") > "$bin/out" 2>&1 && ! timed_out; then
			echo "failed"
			cat "$bin/out"
			exit 1
		fi
		tail -n 2 "$bin/out" | sed -nE 's/^fuzz: elapsed: [^,]*, (execs: ([0-9]+).*|gathering baseline coverage: ([0-9]+\/[0-9]+).*)$/\2\3 inputs, no failure/p'
	done
done
