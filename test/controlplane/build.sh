#!/usr/bin/env bash
# Builds the control plane of go.mod into the given directory, unless that has
# one already. Takes about five minutes on two cores, once.
set -euo pipefail
cd "$(dirname "$0")"
out=$1

binaries=(etcd kube-apiserver kube-controller-manager kubectl)
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
# A directory that somebody else filled is taken as it is; ours is built again
# when the versions change.
wanted="$version $(sha256sum go.sum build.sh | sha256sum | cut -c1-16)"
if [[ "$(cat "$out/.version" 2>/dev/null || echo "$wanted")" == "$wanted" ]]; then
	missing=0
	for binary in "${binaries[@]}"; do [[ -x "$out/$binary" ]] || missing=1; done
	[[ $missing == 0 ]] && exit 0
fi

echo "Building Kubernetes $version and etcd $(go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3) into $out, once; about five minutes on two cores."
mkdir -p "$out"
partial=$(mktemp -d "$out/.partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT

# What a release's binaries say of themselves.
# https://github.com/kubernetes/kubernetes/blob/v1.36.3/hack/lib/version.sh
minor=${version#v1.}
stamp=()
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	stamp+=(-X "$package.gitVersion=$version" -X "$package.gitMajor=1" -X "$package.gitMinor=${minor%%.*}" -X "$package.gitTreeState=clean")
done

step=0
for package in $(go list tool); do
	name=$(basename "${package%/v3}")
	[[ $name == server ]] && name=etcd
	step=$((step + 1))
	echo "[$step/${#binaries[@]}] $name"
	start=$SECONDS
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w ${stamp[*]}" -o "$partial/$name" "$package"
	echo "[$step/${#binaries[@]}] $name, $((SECONDS - start)) s"
done
mv "$partial"/* "$out/"
echo "$wanted" > "$out/.version"
