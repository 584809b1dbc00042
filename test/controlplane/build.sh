#!/usr/bin/env bash
# Builds the control plane of go.mod into the given directory, unless the directory has
# the same version. The first build takes about five minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")"
out=$1

binaries=(etcd kube-apiserver kube-controller-manager kubectl)
if [[ -n "${KUBEBUILDER_ASSETS:-}" ]]; then
	for binary in "${binaries[@]}"; do
		[[ -x "$KUBEBUILDER_ASSETS/$binary" ]] && continue
		echo "KUBEBUILDER_ASSETS is set to $KUBEBUILDER_ASSETS, which does not contain $binary. Unset KUBEBUILDER_ASSETS to build all binaries." >&2
		exit 1
	done
	exit 0
fi

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
expected="$version $(git hash-object go.sum build.sh | tr '\n' ' ')"
[[ "$(cat "$out/.version" 2>/dev/null)" == "$expected" ]] && exit 0

echo "Building Kubernetes $version and etcd $(go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3) into $out. This takes about five minutes on two cores, once."
mkdir -p "$out"
partial=$(mktemp -d "$out/.partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT

# Sets the same version information as in released binaries.
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
echo "$expected" > "$out/.version"
