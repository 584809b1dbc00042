package enforcement

import (
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mergePatch returns a JSON merge patch, in which nil removes, of an object at the
// version that was read. fields are those beside metadata.
func mergePatch(object metav1.Object, metadata, fields map[string]any) client.Patch {
	stated := map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion()}
	maps.Copy(stated, metadata)
	whole := map[string]any{"metadata": stated}
	maps.Copy(whole, fields)
	data, err := json.Marshal(whole)
	if err != nil {
		panic(fmt.Sprintf("marshalling labels, fields and managedFields: %v", err))
	}
	return client.RawPatch(types.MergePatchType, data)
}
