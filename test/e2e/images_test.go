package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/reference"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

const (
	sha256 = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	sha512 = "sha512:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

var allowedRegistries = []string{
	"registry.example.com", "harbor.example.com:5000/team", "docker.io/library", "ghcr.io/acme/", "localhost:5000", "[2001:db8::1]:5000",
	"quay.io/prometheus/node-exporter", "Mixed.example.com/a",
}

// imageCases are images, and whether a baseline with allowedRegistries allows them.
var imageCases = []struct {
	image string
	// want is "" if the image is allowed, or a part of the message.
	want string
}{
	// By host.
	{"registry.example.com/a", ""},
	{"registry.example.com/a/b", ""},
	{"registry.example.com/a/b:v1", ""},
	{"registry.example.com/a/b@" + sha256, ""},
	{"registry.example.com/a/b:v1@" + sha256, ""},
	{"registry.example.com/a/b@" + sha512, ""},
	{"REGISTRY.example.com/a", ""},
	{"Registry.Example.COM/a/b:v1", ""},
	// Hosts that resemble an allowed one.
	{"registry.example.com.evil.io/a", "allowed registry"},
	{"evil.io/registry.example.com/a", "allowed registry"},
	{"evilregistry.example.com/a", "allowed registry"},
	{"registry.example.co/a", "allowed registry"},
	{"registry.example.comm/a", "allowed registry"},
	{"registry-example.com/a", "allowed registry"},
	{"registry.example.com-evil.io/a", "allowed registry"},
	{"registry.example.com:5000/a", "allowed registry"},
	{"registry.example.com:443/a", "allowed registry"},
	{"registry.example.com@evil.io/a", "not a valid reference"},
	{"user@registry.example.com/a", "not a valid reference"},
	{"https://registry.example.com/a", "not a valid reference"},
	{"registry.example.com./a", "not a valid reference"},
	{".registry.example.com/a", "not a valid reference"},
	{"registry..example.com/a", "not a valid reference"},
	{"registry_example.com/a", "not a valid reference"},
	{"registry.example.com%2fa", "not a valid reference"},
	{`registry.example.com\a`, "not a valid reference"},
	// A reference of one part is a name on Docker Hub.
	{"registry.example.com", ""}, // docker.io/library/registry.example.com
	// By host, port and path.
	{"harbor.example.com:5000/team/app", ""},
	{"harbor.example.com:5000/team", ""},
	{"harbor.example.com:5000/team/a/b/c:1.2", ""},
	{"harbor.example.com:5000/team:1.2", ""},
	{"harbor.example.com:5000/teams/app", "allowed registry"},
	{"harbor.example.com:5000/team-b/app", "allowed registry"},
	{"harbor.example.com:5000/other/team/app", "allowed registry"},
	{"harbor.example.com/team/app", "allowed registry"},
	{"harbor.example.com:50001/team/app", "allowed registry"},
	{"harbor.example.com:5000/../team/app", "not a valid reference"},
	{"harbor.example.com:5000/team/../other/app", "not a valid reference"},
	{"harbor.example.com:port/team/app", "not a valid reference"},
	{"harbor.example.com:/team/app", "not a valid reference"},
	// An allowed registry with a slash at the end.
	{"ghcr.io/acme/app", ""},
	{"ghcr.io/acme/tools/app:v2", ""},
	{"ghcr.io/acme", ""},
	{"ghcr.io/acme-evil/app", "allowed registry"},
	{"ghcr.io/app", "allowed registry"},
	// One repository.
	{"quay.io/prometheus/node-exporter:v1.8.0", ""},
	{"quay.io/prometheus/node-exporter-evil", "allowed registry"},
	{"quay.io/prometheus/node-exporter/sub", ""},
	{"quay.io/prometheus/prometheus", "allowed registry"},
	// docker.io and its short forms.
	{"nginx", ""},
	{"nginx:1.27", ""},
	{"nginx@" + sha256, ""},
	{"library/nginx", ""},
	{"docker.io/nginx", ""},
	{"docker.io/library/nginx", ""},
	{"index.docker.io/nginx", ""},
	{"index.docker.io/library/nginx:1.27", ""},
	{"bitnami/redis", "docker.io/bitnami/redis"},
	{"docker.io/bitnami/redis", "allowed registry"},
	{"library-evil/nginx", "allowed registry"},
	{"registry-1.docker.io/library/nginx", "allowed registry"},
	{"docker.com/library/nginx", "allowed registry"},
	{"docker.io.evil.io/library/nginx", "allowed registry"},
	{"DOCKER.IO/library/nginx", ""},
	// IDs of images, which a node may have from any registry.
	{sha256, "not a valid reference"},
	{"sha256:0123456789ab", "not a valid reference"},
	{strings.TrimPrefix(sha256, "sha256:"), "not a valid reference"},
	{"library/sha256:0123456789ab", ""},   // a name and a tag
	{"sha256:5000/a", "allowed registry"}, // a host and its port
	// localhost.
	{"localhost:5000/app", ""},
	{"localhost/app", "allowed registry"},
	{"localhost:5001/app", "allowed registry"},
	{"localhost.evil.io:5000/app", "allowed registry"},
	{"LOCALHOST:5000/app", ""},
	{"127.0.0.1:5000/app", "allowed registry"},
	{"localhost", ""}, // docker.io/library/localhost
	// Addresses.
	{"[2001:db8::1]:5000/app", ""},
	{"[2001:DB8::1]:5000/app", ""},
	{"[2001:db8::1]/app", "allowed registry"},
	{"[2001:db8::2]:5000/app", "allowed registry"},
	{"[2001:db8::1%25eth0]:5000/app", "not a valid reference"},
	{"2001:db8::1/app", "not a valid reference"},
	{"[2001:db8::1:5000/app", "not a valid reference"},
	// Uppercase.
	{"mixed.example.com/a/b", ""},
	{"MIXED.EXAMPLE.COM/a", ""},
	{"registry.example.com/A", "not a valid reference"},
	{"registry.example.com/a:V1", ""},
	{"NGINX", "not a valid reference"},
	{"Library/nginx", "allowed registry"},
	// Empty and invalid parts.
	{"registry.example.com/", "not a valid reference"},
	{"registry.example.com//a", "not a valid reference"},
	{"registry.example.com/a/", "not a valid reference"},
	{"/a", "not a valid reference"},
	{"registry.example.com/a:", "not a valid reference"},
	{"registry.example.com/a@", "not a valid reference"},
	{"registry.example.com/a:v1:v2", "not a valid reference"},
	{"registry.example.com/a@" + sha256 + "@" + sha256, "not a valid reference"},
	{"registry.example.com/a@sha256:abc", "not a valid reference"},
	{"registry.example.com/a@md5:0123456789abcdef0123456789abcdef", "not a valid reference"},
	{"registry.example.com/a@" + strings.ToUpper(sha256), "not a valid reference"},
	{"registry.example.com/a b", "not a valid reference"},
	{"registry.example.com/a__b/c-_d", "not a valid reference"},
	{"registry.example.com/a__b/c--d", ""},
	{"registry.example.com/.a", "not a valid reference"},
	{"registry.example.com/" + strings.Repeat("a", 255), ""},
	{"registry.example.com/" + strings.Repeat("a", 256), "not a valid reference"},
	{"registry.example.com/a:" + strings.Repeat("t", 128), ""},
	{"registry.example.com/a:" + strings.Repeat("t", 129), "not a valid reference"},
	{strings.TrimPrefix(sha256, "sha256:"), "not a valid reference"},
	{"ñginx", "not a valid reference"},
	{"registry.еxample.com/a", "not a valid reference"}, // a Cyrillic letter
}

func TestImages_OnlyAllowedRegistriesAndDigests(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	digests := env.NewNamespace(t, "digests", map[string]string{"digests": "required"})
	env.NewBaseline(t, "registries", v1alpha1.SecurityBaselineSpec{
		Images: &v1alpha1.Images{AllowedRegistries: allowedRegistries}, Contact: "#platform",
	})
	strict := env.NewBaseline(t, "digests", v1alpha1.SecurityBaselineSpec{
		Priority: 1, Images: &v1alpha1.Images{RequireDigest: true},
	})
	update(t, strict, func(b *v1alpha1.SecurityBaseline) { b.Spec.NamespaceSelector.MatchLabels["digests"] = "required" })
	env.WaitForReady(t, strict)
	env.WaitForServiceAccount(t, namespace.Name)
	env.WaitForServiceAccount(t, digests.Name)
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "evil.io/a"))
	},
		"container app: image evil.io/a (evil.io/a) does not come from an allowed registry (registry.example.com, ",
		"): rule images.allowedRegistries of SecurityBaseline "+testutil.Name(t)+"-registries; contact #platform")
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(digests.Name, "evil.io/a:v1"))
	},
		"container app: image evil.io/a:v1 has no digest; add one, as in name@sha256:...: rule images.requireDigest of SecurityBaseline "+strict.Name+
			"; contact your cluster administrator")

	for _, test := range imageCases {
		t.Run(test.image, func(t *testing.T) {
			err := dryRunCreate(t.Context(), env.Admin, newPodWithImage(namespace.Name, test.image))
			if test.want == "" {
				testutil.Must(t, err)
				return
			}
			testutil.Must(t, testutil.CheckForbidden(err, "container app: image ", test.image, test.want))
		})
	}
	for _, test := range []struct {
		image string
		names bool
	}{
		{"nginx@" + sha256, true},
		{"nginx:1.27@" + sha256, true},
		{"evil.io:5000/a/b:v1@" + sha256, true},
		{"nginx", false},
		{"nginx:1.27", false},
		{"nginx:" + strings.TrimPrefix(sha256, "sha256:"), false},
		{"nginx@" + sha512, false},
		{"nginx@" + sha256[:len(sha256)-1], false},
	} {
		t.Run("digest of "+test.image, func(t *testing.T) {
			err := dryRunCreate(t.Context(), env.Admin, newPodWithImage(digests.Name, test.image))
			if test.names {
				testutil.Must(t, err)
				return
			}
			testutil.Must(t, testutil.CheckForbidden(err, "rule images"))
		})
	}
}

// imageID matches the IDs of images, whole or shortened.
var imageID = regexp.MustCompile("^sha(256|384|512):[^/]*$")

// isAllowed reports whether the host and the path of an image are among allowedRegistries, as
// distribution/reference parses them, which the kubelet uses. It returns an error if the
// image is not a reference or has no host.
func isAllowed(image string) (bool, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false, err
	}
	if imageID.MatchString(image) {
		// The container runtime treats it as the ID of an image on the node.
		return false, fmt.Errorf("%q is the ID of an image", image)
	}
	host := reference.Domain(named)
	path := reference.Path(named)
	if host == "" {
		return false, fmt.Errorf("%q has no host", image)
	}
	for _, allowed := range allowedRegistries {
		allowedHost, allowedPath, _ := strings.Cut(strings.TrimSuffix(allowed, "/"), "/")
		if !strings.EqualFold(host, allowedHost) {
			continue
		}
		parts := strings.Split(path, "/")
		prefix := strings.Split(allowedPath, "/")
		if allowedPath == "" || len(parts) >= len(prefix) && strings.Join(parts[:len(prefix)], "/") == allowedPath {
			return true, nil
		}
	}
	return false, nil
}

// TestImages_ParsedAsDistributionReferenceDoes compares the policy with distribution/reference, for
// the images of the table and for random ones.
func TestImages_ParsedAsDistributionReferenceDoes(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "registries", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{AllowedRegistries: allowedRegistries}})
	env.WaitForReady(t, baseline)
	env.WaitForServiceAccount(t, namespace.Name)
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "evil.io/a"))
	})

	const many = 3000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	images := make(chan string)
	go func() {
		defer close(images)
		for _, test := range imageCases {
			images <- test.image
		}
		for range many {
			images <- randomImage(random)
		}
	}()
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for image := range images {
				allowed, parseErr := isAllowed(image)
				err := dryRunCreate(t.Context(), env.Admin, newPodWithImage(namespace.Name, image))
				switch {
				case parseErr != nil:
					err = testutil.CheckForbidden(err, "is not a valid reference")
				case !allowed:
					err = testutil.CheckForbidden(err, "does not come from an allowed registry")
				}
				if err != nil {
					t.Errorf("%q: got %v, want what distribution/reference says: allowed=%t (%v)", image, err, allowed, parseErr)
				}
			}
		})
	}
	workers.Wait()
}

// randomImage joins parts of references, valid and invalid ones.
func randomImage(random *rand.Rand) string {
	parts := []string{
		"registry.example.com", "harbor.example.com", "docker.io", "index.docker.io", "ghcr.io", "localhost", "[2001:db8::1]", "Mixed.example.com", "evil.io",
		"team", "library", "acme", "nginx", "a", "A", "a-b", "a--b", "a_b", "a__b", "a___b", "a.b", "a..b", "-a", "a-", "_", "ü", "É.io", " ", "x",
		"sha256", "/", "/", "/", "/", "//", ":", ":", ":5000", ":5000/", ":v1", ":V1.0", "@", "@" + sha256, "@" + sha512, "@sha256:", "@md5:" + strings.Repeat("0", 32),
		strings.Repeat("a", 64), strings.TrimPrefix(sha256, "sha256:"), ".", "..", "[::1]", "[::]:1", "%", "\u2028",
	}
	var image strings.Builder
	for range 1 + random.IntN(6) {
		image.WriteString(parts[random.IntN(len(parts))])
	}
	// Kubernetes rejects leading and trailing space.
	if trimmed := strings.TrimSpace(image.String()); trimmed != "" {
		return trimmed
	}
	return "a"
}
