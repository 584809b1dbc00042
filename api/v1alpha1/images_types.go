package v1alpha1

// ControlImages is the control of spec.images.
const ControlImages ControlName = "Images"

// Images restricts the images of containers, init containers and ephemeral
// containers, in pods and in the workloads that create pods.
//
// +kubebuilder:validation:XValidation:rule="has(self.allowedRegistries) || (has(self.requireDigest) && self.requireDigest)",message="images has no rule; add allowedRegistries, requireDigest or both"
type Images struct {
	// allowedRegistries lists where images may come from. Each entry is the host
	// of a registry, with an optional port and an optional path, such as
	// docker.io/library or registry.example.com:5000. An image matches an entry if
	// it has the same host and begins with the same whole path segments. An image
	// name without a host, such as nginx, means docker.io/library/nginx.
	// https://pkg.go.dev/github.com/distribution/reference
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:[.](?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*/?$') || self.matches('^\\\\[[a-fA-F0-9:]+\\\\](?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*/?$')",message="images.allowedRegistries must hold registry hosts, each with an optional port and an optional lowercase path, such as registry.example.com:5000/team; no scheme, no tag and no '*'"
	// +kubebuilder:validation:items:XValidation:rule="self.split('/')[0] == 'localhost' || self.split('/')[0].contains('.') || self.split('/')[0].contains(':')",message="images.allowedRegistries must begin with the host of a registry: docker.io/library, not library"
	// +kubebuilder:validation:items:XValidation:rule="self.split('/')[0].lowerAscii() != 'index.docker.io'",message="images.allowedRegistries contains index.docker.io, which never matches an image; write docker.io"
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="images.allowedRegistries is empty; add a registry or remove allowedRegistries"
	AllowedRegistries []string `json:"allowedRegistries,omitempty"`

	// requireDigest requires a sha256 digest in each image name, so that the name
	// identifies exactly one image. Defaults to false.
	// +optional
	RequireDigest bool `json:"requireDigest,omitempty"`

	// action is what the API server does with pods that violate this control:
	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}
