package main

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ignoreRules are an Application's spec.ignoreDifferences. Of its JSON pointers,
// those into lists are not supported.
type ignoreRules []struct {
	Group        string   `json:"group"`
	Kind         string   `json:"kind"`
	Name         string   `json:"name"`
	Namespace    string   `json:"namespace"`
	JSONPointers []string `json:"jsonPointers"`
}

// fields returns the paths of the fields of an object that are ignored.
func (rules ignoreRules) ignoredFields(object *unstructured.Unstructured) (fields [][]string) {
	gvk := object.GroupVersionKind()
	for _, rule := range rules {
		if !matchesGlob(rule.Group, gvk.Group) || !matchesGlob(rule.Kind, gvk.Kind) ||
			rule.Name != "" && rule.Name != object.GetName() ||
			rule.Namespace != "" && rule.Namespace != object.GetNamespace() {
			continue
		}
		for _, pointer := range rule.JSONPointers {
			field := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
			for i := range field {
				field[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(field[i])
			}
			fields = append(fields, field)
		}
	}
	return fields
}

func matchesGlob(pattern, value string) bool {
	matched, err := path.Match(pattern, value)
	return err == nil && matched
}

// Normalize removes what is not compared, which by default is the status of
// everything.
func (rules ignoreRules) Normalize(object *unstructured.Unstructured) error {
	for _, field := range append(rules.ignoredFields(object), []string{"status"}) {
		unstructured.RemoveNestedField(object.Object, field...)
	}
	return nil
}

// respect returns the target with what is live in each ignored field, so that it
// stays.
func (rules ignoreRules) keepIgnored(target, live *unstructured.Unstructured) *unstructured.Unstructured {
	if target == nil || live == nil {
		return target
	}
	target = target.DeepCopy()
	for _, field := range rules.ignoredFields(target) {
		unstructured.RemoveNestedField(target.Object, field...)
		value, found, err := unstructured.NestedFieldCopy(live.Object, field...)
		if err != nil || !found {
			continue
		}
		// It fails where the target has something else on the way there, which the
		// sync is to say.
		_ = unstructured.SetNestedField(target.Object, value, field...)
	}
	return target
}
