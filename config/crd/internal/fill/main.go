// Command fill replaces the word CONTROLS in generated files, so that a new control needs no
// change of a list in the API. What replaces it follows from the table of controls:
//   - in an enum, the names of the controls;
//   - in a validation rule, a condition that any of their sections is present;
//   - elsewhere, the names of these sections.
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/securitybaseline/operator/controllers/controls"
)

var (
	enumItem = regexp.MustCompile(`(?m)^( *)- CONTROLS$`)
	enumList = regexp.MustCompile(`\[CONTROLS\]`)
	rule     = regexp.MustCompile(`rule: CONTROLS`)
	sections = regexp.MustCompile(`\bCONTROLS\b`)
)

func main() {
	for _, path := range os.Args[1:] {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(fill(string(data), controls.All)), 0o644)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "filling in the controls: %v\n", err)
			os.Exit(1)
		}
	}
}

// fill returns a text in which the word CONTROLS is replaced.
func fill(text string, table []controls.Control) string {
	names := make([]string, 0, len(table))
	sectionNames := make([]string, 0, len(table))
	conditions := make([]string, 0, len(table))
	for i := range table {
		names = append(names, string(table[i].Name))
		sectionNames = append(sectionNames, table[i].Section)
		conditions = append(conditions, "has(self."+table[i].Section+")")
	}
	text = enumItem.ReplaceAllString(text, "${1}- "+strings.Join(names, "\n${1}- "))
	text = enumList.ReplaceAllString(text, "["+strings.Join(names, " ")+"]")
	text = rule.ReplaceAllString(text, "rule: "+strings.Join(conditions, " || "))
	return sections.ReplaceAllString(text, strings.Join(sectionNames, ", "))
}
