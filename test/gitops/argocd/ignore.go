package main

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ignoreRules are the ignoreDifferences of an Application. JSON pointers into lists are
// not supported.
type ignoreRules []struct {
	Group        string   `json:"group"`
	Kind         string   `json:"kind"`
	Name         string   `json:"name"`
	Namespace    string   `json:"namespace"`
	JSONPointers []string `json:"jsonPointers"`
}

// ignoredFields returns the paths of the ignored fields of an object.
func (rules ignoreRules) ignoredFields(object *unstructured.Unstructured) (fields [][]string) {
	gvk := object.GroupVersionKind()
	for _, rule := range rules {
		if !isGlobMatch(rule.Group, gvk.Group) || !isGlobMatch(rule.Kind, gvk.Kind) ||
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

func isGlobMatch(pattern, value string) bool {
	isMatch, err := path.Match(pattern, value)
	return err == nil && isMatch
}

// Normalize removes the fields that are not compared: the ignored fields and, as by
// default in Argo CD, the status.
func (rules ignoreRules) Normalize(object *unstructured.Unstructured) error {
	for _, field := range append(rules.ignoredFields(object), []string{"status"}) {
		unstructured.RemoveNestedField(object.Object, field...)
	}
	return nil
}

// keepIgnored returns the target with the live values of the ignored fields, so that a
// sync does not change them.
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
		// This fails if a parent field of the target is not a map. The sync reports that.
		_ = unstructured.SetNestedField(target.Object, value, field...)
	}
	return target
}
