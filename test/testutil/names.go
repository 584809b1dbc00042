package testutil

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// testLabel is the label by which the baselines of a test select its namespaces.
const testLabel = "test"

var (
	notInNames = regexp.MustCompile("[^a-z0-9]+")
	// testNames maps what Name returned to the names of the tests.
	testNames sync.Map
)

// Name returns the name of a test in the form of an object's name. It is short, and
// no other test has the same.
func Name(t *testing.T) string {
	name := objectName(t.Name())
	testNames.Store(name, t.Name())
	return name
}

func objectName(test string) string {
	const readable = 32
	name := notInNames.ReplaceAllString(strings.ToLower(strings.TrimPrefix(test, "Test")), "-")
	if len(name) <= readable {
		return name
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return fmt.Sprintf("%s-%08x", strings.Trim(name[:readable], "-"), hash.Sum32())
}

// TestOf returns the name of the test that has the object in a text, such as the path
// of a request. It returns "unknown test" if the text names no object of a test.
func TestOf(text string) string {
	found := "unknown test"
	longest := 0
	testNames.Range(func(name, test any) bool {
		if name := name.(string); len(name) > longest && strings.Contains(text, name) {
			found = test.(string)
			longest = len(name)
		}
		return true
	})
	return found
}

// Labels returns the labels by which the baselines of a test select its namespaces.
func Labels(t *testing.T) map[string]string {
	return map[string]string{testLabel: Name(t)}
}

// Selector selects the namespaces of a test.
func Selector(t *testing.T) v1alpha1.LabelSelector {
	return v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{testLabel: v1alpha1.LabelValue(Name(t))}}
}
