package controls

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is a Kubernetes object. It is client.Object without a dependency on a client.
type Object interface {
	metav1.Object
	runtime.Object
}
