#!/usr/bin/env bash
# Fuzzes each target, one after the other, for the given time, such as 10s, and says
# how many inputs that were. What is found is kept in the target's testdata/fuzz, by
# which go test repeats it, and ends this at once. Each run begins with the seeds and
# what testdata/fuzz holds or, if FUZZCACHE names a directory, with what runs left
# there too.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=$1

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
# On a busy machine Go before 1.27 takes the end of the time for a failure of what is
# under way: https://github.com/golang/go/issues/75804
timed_out() {
	grep -q 'context deadline exceeded' "$bin/out" && ! grep -Eq 'Failing input written|panic|hung or terminated' "$bin/out"
}
cache=$(realpath -m "${FUZZCACHE:-$bin/cache}")
for dir in $(git grep --untracked -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
	# Built once a package: go test would link it anew for each target.
	(cd "$dir" && go test -c -fuzz=. -o "$bin/fuzz" .)
	for target in $(cd "$dir" && "$bin/fuzz" -test.list '^Fuzz'); do
		echo -n "$target of $dir, $time: "
		# Of an input that is new, a few ways to make it smaller will do: most are as
		# small as they get.
		if ! (cd "$dir" && "$bin/fuzz" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="$time" -test.fuzzminimizetime=10x \
			-test.fuzzcachedir="$cache") > "$bin/out" 2>&1 && ! timed_out; then
			echo "failed"
			cat "$bin/out"
			exit 1
		fi
		tail -n 2 "$bin/out" | sed -nE 's/^fuzz: elapsed: [^,]*, (execs: ([0-9]+).*|gathering baseline coverage: ([0-9]+\/[0-9]+).*)$/\2\3 inputs, and nothing found/p'
	done
done
