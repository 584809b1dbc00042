package policies

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// decode returns the objects of a YAML file that is part of this executable.
func decode(name string, data []byte) []client.Object {
	var objects []client.Object
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err == nil {
			object, _, decodeErr := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
			if err = decodeErr; err == nil {
				objects = append(objects, object.(client.Object))
			}
		}
		if err != nil {
			panic(fmt.Sprintf("the policies in %s are valid: %v", name, err))
		}
	}
}
