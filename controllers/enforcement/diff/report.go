package diff

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// maxValueLength is how much of a value is reported, in bytes.
const maxValueLength = 256

// Report returns the differences as reports show them: values as JSON, cut to 256 bytes.
func (d Differences) Report() []v1alpha1.FieldDifference {
	fields := make([]v1alpha1.FieldDifference, 0, len(d))
	for i := range d {
		expected, actual := jsonValues(d[i].Expected, d[i].Actual)
		fields = append(fields, v1alpha1.FieldDifference{
			Path:     strings.TrimPrefix(d[i].Path.String(), "."),
			Expected: evaluation.Truncate(expected, maxValueLength), Actual: evaluation.Truncate(actual, maxValueLength),
		})
	}
	return fields
}

// ReportPaths returns the paths of the differences as reports show them.
func (d Differences) ReportPaths() []string {
	paths := make([]string, 0, len(d))
	for i := range d {
		paths = append(paths, strings.TrimPrefix(d[i].Path.String(), "."))
	}
	return paths
}

// jsonValues returns two values as JSON. If both are lists, it returns only the
// elements that the other list lacks, unless the lists differ only in their order.
func jsonValues(expected, actual any) (expectedJSON, actualJSON string) {
	expectedJSON, actualJSON = toJSON(expected), toJSON(actual)
	var expectedList, actualList []json.RawMessage
	if json.Unmarshal([]byte(expectedJSON), &expectedList) != nil || json.Unmarshal([]byte(actualJSON), &actualList) != nil ||
		len(expectedList) == 0 || len(actualList) == 0 {
		return expectedJSON, actualJSON
	}
	missing := missingFrom(actualList, expectedList)
	added := missingFrom(expectedList, actualList)
	if len(missing) == 0 && len(added) == 0 {
		return expectedJSON, actualJSON
	}
	return listJSON(missing), listJSON(added)
}

// missingFrom returns the elements that a list lacks.
func missingFrom(list, elements []json.RawMessage) []json.RawMessage {
	return slices.DeleteFunc(slices.Clone(elements), func(element json.RawMessage) bool {
		return slices.ContainsFunc(list, func(other json.RawMessage) bool { return string(other) == string(element) })
	})
}

func listJSON(elements []json.RawMessage) string {
	if len(elements) == 0 {
		return ""
	}
	return toJSON(elements)
}

// toJSON returns a value as JSON, a string without quotes, and nil as an empty string.
func toJSON(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	data, err := json.Marshal(value)
	// The values are parts of Kubernetes' own types, which marshal.
	if err != nil || string(data) == "null" {
		return ""
	}
	return string(data)
}
