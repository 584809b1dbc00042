package controls

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is a Kubernetes API object. It has the methods of controller-runtime's
// Object, so the two are assignable to each other. It is declared here
// because this package must not depend on a client.
type Object interface {
	metav1.Object
	runtime.Object
}
